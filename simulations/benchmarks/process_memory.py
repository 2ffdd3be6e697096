"""How much memory a process and all that it started really take."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil


class PeakMemory:
    """Samples the memory of a process tree in a thread, and keeps the largest figure.

    The proportional set size is summed: a page that several processes share counts once, which resident
    set sizes would count in every process. Where the system has no such figure, unique pages are summed.
    """

    def __init__(self, process_id: int, interval: float = 0.1) -> None:
        self.peak = 0
        """Bytes."""
        self._root = psutil.Process(process_id)
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self.peak = max(self.peak, tree_memory(self._root))


def tree_memory(root: psutil.Process) -> int:
    """Bytes that ``root`` and its descendants take now."""
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_memory(process) for process in processes)


def _memory(process: psutil.Process) -> int:
    try:
        found = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0  # it ended while we looked
    return int(getattr(found, "pss", 0) or found.uss)
