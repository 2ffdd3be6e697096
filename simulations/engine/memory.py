"""Shared memory without a name: processes pass its file descriptor around, and the last one frees it.

A named segment outlives a process that is killed; this cannot. Nor is it bounded by the size of
``/dev/shm``, which is 64 MB in many containers.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile

from shared_models.errors import StorageError

ALIGNMENT = 64


def aligned(size: int) -> int:
    """``size`` rounded up, so that what follows it starts on a cache line."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class SharedBlock:
    """One region of memory that several processes see.

    A block that has grown is mapped anew; views of it from before stay valid and show the same bytes.
    """

    def __init__(self, descriptor: int, size: int, *, writable: bool) -> None:
        self.descriptor = descriptor
        self.size = size
        self._writable = writable
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls, size: int) -> SharedBlock:
        """A new block of ``size`` bytes. Raises :class:`StorageError` if there is no room for it."""
        descriptor = _anonymous_file()
        block = cls(descriptor, 0, writable=True)
        try:
            block.grow(size)
        except BaseException:
            os.close(descriptor)
            raise
        return block

    def grow(self, size: int) -> None:
        """Make the block at least ``size`` bytes long."""
        if size <= self.size:
            return
        try:
            # Taking the pages now turns a lack of memory into an error here, not a bus error later.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.descriptor, 0, size)
            else:
                os.ftruncate(self.descriptor, size)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.ENOMEM, errno.EFBIG}:
                raise
            raise StorageError(
                f"no room for {size / 1e6:.0f} MB of shared memory: free memory, or use fewer engine.workers"
            ) from None
        self.adopt_size(size)

    def adopt_size(self, size: int) -> None:
        """Another process has grown the block to ``size``."""
        if size != self.size:
            self.size, self._map = size, None

    def view(self) -> memoryview:
        """All of the block, read-only where it was opened so."""
        if not self.size:
            return memoryview(b"")
        if self._map is None:
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if self._writable else 0)
            self._map = mmap.mmap(self.descriptor, self.size, flags=mmap.MAP_SHARED, prot=protection)
        return memoryview(self._map)

    def close(self) -> None:
        """Give the block up; the memory goes with the last view of it."""
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("fedvoice", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
