"""Reading a request's body with a limit on its size and time, whatever it says about itself."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from server.live.asgi import Message, Receive


class BodyProblemError(Exception):
    """A body that is too large, too slow or cut off, with the status to answer."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind = status, kind


async def read_body(
    receive: Receive,
    headers: Iterable[tuple[bytes, bytes]],
    most_bytes: int,
    seconds: float,
    digest: str | None = None,
) -> bytes:
    """The whole body, which has the SHA-256 ``digest`` if one was signed.

    Raises :class:`BodyProblemError` as soon as it is more than ``most_bytes``: by what it announces before a byte is
    read, or, where it announces nothing, when that much has come.
    """
    parts: list[bytes] = []
    await _read(_Compared(parts.append, digest), receive, headers, most_bytes, seconds)
    return b"".join(parts)


async def spool_body(
    receive: Receive,
    headers: Iterable[tuple[bytes, bytes]],
    most_bytes: int,
    seconds: float,
    folder: Path,
    digest: str | None = None,
) -> IO[bytes]:
    """As :func:`read_body`, into a temporary file in ``folder``: the body of a slow sender takes up disk, not memory.

    The file is at its start. Raises :class:`BodyProblemError`, also where the disk is full.
    """
    with contextlib.ExitStack() as unless_whole:
        try:
            # Unbuffered: closing a file that a full disk refused has nothing left to write.
            spool = unless_whole.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
            await _read(_Compared(spool.write, digest), receive, headers, most_bytes, seconds)
            spool.seek(0)
        except OSError as error:
            reason = f"the server cannot store what arrives: {error.strerror}"
            raise BodyProblemError(503, "server trouble", reason) from error
        unless_whole.pop_all()
    return spool


class _Compared:
    """Keeps the parts of a body, and knows at its end whether it is the one whose digest was signed."""

    def __init__(self, keep: Callable[[bytes], object], digest: str | None) -> None:
        self._keep, self._digest, self._hash = keep, digest, hashlib.sha256()

    def take(self, part: bytes) -> None:
        if self._digest is not None:
            self._hash.update(part)
        self._keep(part)

    def end(self) -> None:
        if self._digest is not None and self._hash.hexdigest() != self._digest:
            raise BodyProblemError(401, "altered body", "the body is not the one that the device signed")


async def _read(
    body: _Compared,
    receive: Receive,
    headers: Iterable[tuple[bytes, bytes]],
    most_bytes: int,
    seconds: float,
) -> None:
    announced = dict(headers).get(b"content-length")
    if announced is not None and (not announced.isdigit() or int(announced) > most_bytes):
        raise _too_large(most_bytes)
    try:
        async with asyncio.timeout(seconds):
            await _collect(body.take, receive, most_bytes)
    except TimeoutError:
        raise BodyProblemError(408, "too slow", f"the body did not arrive within {seconds:.0f} s") from None
    body.end()


def replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body again, and then waits for the disconnection as the true one does."""
    waiting = [body]
    del body

    async def again() -> Message:
        if not waiting:
            return await receive()
        return {"type": "http.request", "body": waiting.pop(), "more_body": False}

    return again


async def _collect(keep: Callable[[bytes], object], receive: Receive, most_bytes: int) -> None:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyProblemError(400, "cut off", "the connection ended within the body")
        part = message.get("body", b"")
        size += len(part)
        if size > most_bytes:
            raise _too_large(most_bytes)
        keep(part)
        if not message.get("more_body", False):
            return


def _too_large(most_bytes: int) -> BodyProblemError:
    return BodyProblemError(413, "too large", f"a request of this kind has at most {most_bytes} bytes")
