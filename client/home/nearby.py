"""Files by names that are nearly theirs: another case, a Windows path, an accent in two characters, an inner folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

_FOLDERS = ("", "wavs", "clips", "audio")
"""Where tables of other programs keep what they name: LJSpeech's and piper's, and Common Voice's."""


class NearbyFiles:
    """Finds files; a folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, path: Path) -> Path | None:
        """The file of that name, or the one whose name differs in case or in how its accents are written."""
        try:
            if path.is_file():
                return path
        except OSError:  # a name that no file system takes
            return None
        return self._in(path.parent).get(_plain(path.name))

    def first(self, stem: Path, suffixes: Iterable[str]) -> Path | None:
        """The first file of ``stem`` with one of the suffixes."""
        found = (self.find(stem.with_name(stem.name + suffix)) for suffix in suffixes)
        return next((path for path in found if path is not None), None)

    def named(self, root: Path, written: str) -> Path | None:
        """The file that a table at ``root`` names, as it is written or as Windows writes paths."""
        ways = (written, written.replace("\\", "/")) if "\\" in written else (written,)
        found = (self.find(root / folder / way) for way in ways for folder in _FOLDERS)
        return next((path for path in found if path is not None), None)

    def _in(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            try:
                files = sorted(path for path in folder.iterdir() if path.is_file())
            except (OSError, ValueError):
                files = []
            self._listed[folder] = {_plain(path.name): path for path in reversed(files)}
        return self._listed[folder]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
