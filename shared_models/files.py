"""Writing files so that neither a crash nor a full disk leaves half of one behind.

``rename`` within a folder is atomic on every file system we run on, so a reader sees the old content or
the new, never a mixture. Durability needs two more steps: the data reaches the disk before the rename
(``fsync`` of the file), and the rename itself reaches the disk (``fsync`` of the folder).

What is written is its owner's alone (:mod:`shared_models.private_files`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from shared_models.disk import room
from shared_models.errors import StorageError
from shared_models.private_files import private_folder, private_opener

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP}
_LONGEST_STEM = 200
"""Bytes of a file's name that its temporary one has; file systems take 255."""


def write_atomically(path: Path, data: bytes | str) -> None:
    """Replace the content of ``path`` (text as UTF-8), making its folder where there is none.

    Raises :class:`StorageError` where the disk is full or not writable; the old content is then intact.
    """
    content = data.encode() if isinstance(data, str) else data
    # The process id keeps two writers of one path apart; the leading dot keeps half a file out of globs.
    stem = os.fsencode(path.name)[:_LONGEST_STEM].decode(errors="ignore")
    partial = path.with_name(f".{stem}.{os.getpid()}.partial")
    try:
        with storage_problems(path):
            if path.is_dir():
                raise StorageError(f"{path} cannot be written: it is a folder; name a file")
            private_folder(path.parent)
            try:
                with open(partial, "wb", opener=private_opener) as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise
            sync_folder(path.parent)
    except FileNotFoundError as error:  # its folder was removed, or is one that the system makes no files in
        raise StorageError(
            f"{path} cannot be written: no file can be made there; choose another place"
        ) from error


def append_line(path: Path, line: str, *, durable: bool = True) -> None:
    """Add one line to a log of lines, making the file and its folder where there are none.

    A last line that an earlier crash tore is cut off first, so that it cannot swallow this one. With
    ``durable`` the line is on the disk when this returns. Raises :class:`StorageError`; the lines that
    were whole before are then intact.
    """
    if "\n" in line:
        raise ValueError("append_line takes one line, and was given several")
    with storage_problems(path):
        private_folder(path.parent)
        # Unbuffered: what a failed write left is cut off below, and nothing may follow it at close.
        with open(path, "a+b", buffering=0, opener=private_opener) as file:
            end = _end_of_whole_lines(path)
            file.truncate(end)
            content = line.encode() + b"\n"
            try:
                while content:
                    content = content[file.write(content) :]
            except OSError:
                file.truncate(end)
                raise
            if durable:
                os.fsync(file.fileno())
        if durable and end == 0:
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the creations, renames and removals in ``folder`` durable, where the platform allows it."""
    if os.name == "nt":  # Windows opens no folders; its rename is journalled by the file system.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def storage_problems(path: Path) -> Iterator[None]:
    """Turn the operating system's "disk full" and "not allowed" into a :class:`StorageError` on ``path``."""
    try:
        yield
    except OSError as error:
        explained = explain_storage(error, path)
        if explained is None:
            raise
        raise explained from error


def explain_storage(error: OSError, path: Path | str) -> StorageError | None:
    """The sentence for a failed write to ``path``, or None where the failure is not about storage."""
    if error.errno in _FULL:
        left = room(path)
        return StorageError(
            f"the disk that holds {path} is full: free some space and resume; what was there is intact"
            + (f" ({left} in {Path(path).parent})" if left else "")
        )
    if error.errno in _REFUSED:
        return StorageError(
            f"{path} is not writable ({error.strerror}): choose another place or mend its rights"
        )
    if error.errno in _NO_NAME:
        return StorageError(
            f"{str(path)[:100]} cannot be written: the name is too long or not allowed; choose another"
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        return StorageError(f"{path} cannot be written: a file stands where a folder is needed")
    return None


def _end_of_whole_lines(path: Path) -> int:
    """The position behind the last newline: the file's size, unless its last line is torn."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 4096)
            file.seek(start)
            block = file.read(end - start)
            newline = block.rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
