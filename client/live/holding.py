"""Who holds a device's home: one process at a time trains with it, spends its budget, joins and leaves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from shared_models.errors import ServiceError
from shared_models.files import storage_problems
from shared_models.private_files import private_file

_LOOK_SECONDS = 0.1
_STOP_SECONDS = 60.0


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the home: a second ``fedvoice join`` on it would spend the same budget at the same time.

    Raises :class:`ServiceError` if another process holds it. The lock goes with the process, however it ends.
    """
    path = home / "join.lock"
    with storage_problems(path):
        private_file(path)
        file = path.open("r+")
    with file:
        if not _lock(file.fileno()):
            raise ServiceError(
                f"another fedvoice join already runs on {home}: stop it first, or watch it with "
                f"fedvoice join --status --home {home}"
            )
        # On a full disk nobody learns who holds it; it is held all the same.
        with contextlib.suppress(OSError):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


def is_held(home: Path) -> bool:
    """Whether a process holds the home now."""
    path = home / "join.lock"
    if not path.exists():
        return False
    with path.open("r+") as file:
        return not _lock(file.fileno())


def stop_holder(home: Path, seconds: float = _STOP_SECONDS) -> None:
    """Ask the ``fedvoice join`` that runs on the home to stop, and wait until it has.

    Raises :class:`ServiceError` where it is not known which process that is, as from within another container, and
    where it does not stop.
    """
    process = _holder(home)
    if process is None:
        raise ServiceError(
            f"a fedvoice join runs on {home}, and from here it cannot be told which process that is: stop it where "
            "you started it, and try again"
        )
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while is_held(home):
        if time.monotonic() > deadline:
            raise ServiceError(
                f"the fedvoice join on {home} (process {process}) was asked to stop, and still runs: try again"
            )
        time.sleep(_LOOK_SECONDS)


def _holder(home: Path) -> int | None:
    """The process that wrote its number into the lock, if it is one that has that very file open."""
    # It takes a tenth of a second to import, and only who leaves needs it.
    import psutil

    path = home / "join.lock"
    try:
        number = int(path.read_text())
        opened = {Path(file.path).resolve() for file in psutil.Process(number).open_files()}
    except (OSError, ValueError, psutil.Error):
        return None
    # The number could be another process's: of another container, or of before.
    return number if path.resolve() in opened else None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
