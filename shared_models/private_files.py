"""Files that are their owner's alone, whatever the umask says.

Homes hold voices, keys, ledgers and who takes part in what. A umask of 022, which most systems set, would let every
user of the computer read them; so all that FedVoice writes is made with mode 0600, in folders of 0700. What is
meant for others is given away by its owner, by copying it or by changing its mode.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_FILE, _FOLDER = 0o600, 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_opener(path: str, flags: int) -> int:
    """For ``open(..., opener=private_opener)``: a file that is made is its owner's alone, and one there becomes so."""
    handle = os.open(path, flags, _FILE)
    try:
        _shut(handle)
    except BaseException:
        os.close(handle)
        raise
    return handle


def private_file(path: Path) -> None:
    """Make an empty file that is its owner's alone, or make the one that is there so: before a library opens it.

    SQLite gives a database's ``-wal`` and ``-shm`` the mode of the database.
    """
    private_folder(path.parent)
    os.close(private_opener(str(path), os.O_RDWR | os.O_CREAT))


def private_folder(folder: Path) -> None:
    """Make a folder that is its owner's alone where it is missing, and so its parents; those there stay as they are."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        # Another process may be making it too.
        with contextlib.suppress(FileExistsError):
            made.mkdir(_FOLDER)
            made.chmod(_FOLDER)  # The umask may have taken rights from its owner too.
    if not folder.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(folder))


def private_from_now_on() -> None:
    """Make this process's new files its user's alone: those of libraries too, which know nothing of modes."""
    os.umask(_OTHERS)


def shut_home(home: Path) -> int:
    """Take from others what they may do in a folder and with all that lies in it; the owner's own rights stay.

    For homes of before files were made private. Links are not followed, and what belongs to another user is left.
    Gives how many files and folders were open to others; a folder that is missing has none.
    """
    mended = 0
    for path in _all_within(home):
        try:
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & _OTHERS:
                path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
                mended += 1
        except (FileNotFoundError, PermissionError):
            continue  # Gone meanwhile, or another's: the folder above it is shut.
    return mended


def _all_within(home: Path) -> Iterator[Path]:
    if not home.is_dir():
        return
    # The folder first: from then on nobody can reach what is in it.
    yield home.resolve()
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            yield Path(folder) / name


def _shut(handle: int) -> None:
    status = os.fstat(handle)
    wanted = (stat.S_IMODE(status.st_mode) & ~_OTHERS) | _FILE
    if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) != wanted:
        # Another user's file, or a file system without modes.
        with contextlib.suppress(PermissionError):
            os.fchmod(handle, wanted)
