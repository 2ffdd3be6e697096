"""What a device's owner is told of the recordings before they take part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from client.live.voice import prepare_voice
from shared_models.errors import CorpusError

RATE = 16000


def _record(
    folder: Path, number: int, *, seconds: float = 1.5, offset: float = 0.0, text: str = "Good."
) -> None:
    folder.mkdir(exist_ok=True)
    take = np.random.default_rng(number).normal(offset, 0.1, int(seconds * RATE))
    soundfile.write(folder / f"{number}.wav", take, RATE)
    (folder / f"{number}.txt").write_text(text, encoding="utf-8")


def test_what_is_mended_left_out_and_not_said_is_told_each_by_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "me"
    for number in range(5):
        _record(folder, number)
    _record(folder, 5, offset=0.3)
    _record(folder, 6, text="Good 👍 words.")
    _record(folder, 7, seconds=0.1)
    for _ in range(2):  # The second time, features are already there.
        prepared = prepare_voice(folder, tmp_path / "home", "me")
        assert len(prepared.device.recordings) == 7
        (left_out,) = prepared.left_out
        assert "7.wav" in left_out
        mended, unsaid = prepared.notes
        assert mended.startswith("5.wav: ")
        assert "offset" in mended
        assert unsaid.startswith("6.wav: ")
        assert "👍" in unsaid
    assert (tmp_path / "home" / "features").is_dir()


def test_too_few_say_what_was_wrong_with_the_first(tmp_path: Path) -> None:
    for number in range(4):
        _record(tmp_path / "me", number)
    _record(tmp_path / "me", 4, seconds=0.1)
    with pytest.raises(CorpusError, match=r"has 4 usable .*first problem: .*4\.wav"):
        prepare_voice(tmp_path / "me", tmp_path / "home", "me")
    assert not (tmp_path / "home" / "recordings.json").exists()
