"""A full disk is named: which folder, how much is free."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from shared_models.disk import free_bytes, room, shortage
from shared_models.errors import StorageError
from shared_models.files import write_atomically


def test_room_is_told_of_what_does_not_exist_yet(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    found = free_bytes(tmp_path / "not" / "there.txt")
    assert found is not None
    assert abs(found - free) < 1e9
    assert room(tmp_path).endswith(" MB free")
    assert shortage(tmp_path, 1) is None
    said = str(shortage(tmp_path, 2**62))
    assert f"the disk that holds {tmp_path} is nearly full" in said
    assert "MB free" in said


def test_a_failed_write_says_where_and_how_much_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=rf"is full: free some space .* MB free in {tmp_path}\)"):
        write_atomically(tmp_path / "file", b"x")
