"""What large bodies cost the server's memory, kept apart from how many devices send or fetch one at once.

A cohort's devices answer together. Without this, each transfer would hold its object several times over while it is
parsed, hashed and stored, and each connection would keep a buffer as large as the largest answer that it carried.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from server.live.admission import RefusedError
from server.live.asgi import Message, Send

_HANDLED_AT_ONCE = 4
_OF_ONE_DEVICE = 16
"""Uploads at once, which lie on the server's disk; Flower's client sends eight."""
_PIECE_BYTES = 128 * 1024


class Transfers:
    """The turns that uploads and downloads of objects take. One instance per event loop."""

    def __init__(self) -> None:
        self._handling = asyncio.Semaphore(_HANDLED_AT_ONCE)
        self._sent: dict[bytes, _Copy] = {}
        self._arriving: Counter[int] = Counter()

    @contextlib.contextmanager
    def arriving(self, node: int) -> Iterator[None]:
        """While an object of ``node`` arrives. Raises :class:`RefusedError` if too many of its do already."""
        if self._arriving[node] >= _OF_ONE_DEVICE:
            reason = f"more than {_OF_ONE_DEVICE} uploads of one device at once"
            raise RefusedError(429, "too many uploads", reason, str(node))
        self._arriving[node] += 1
        try:
            yield
        finally:
            self._arriving[node] -= 1
            if not self._arriving[node]:
                del self._arriving[node]

    @contextlib.asynccontextmanager
    async def handling(self) -> AsyncIterator[None]:
        """A turn to work on a large body, which copies it; never held while a peer is waited for."""
        async with self._handling:
            yield

    async def send(self, answer: Answer, send: Send) -> None:
        """Send a whole answer on, however slow the peer. Devices that fetch the same object share one copy of it.

        In pieces, each after the last one has left: encrypted at once, all of it would lie in a buffer of the
        connection that never shrinks.
        """
        await send(answer.start)
        with self._one_copy(answer.take_body()) as body:
            view = memoryview(body)
            for start in range(0, len(view), _PIECE_BYTES):
                piece = bytes(view[start : start + _PIECE_BYTES])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    @contextlib.contextmanager
    def _one_copy(self, body: bytes) -> Iterator[bytes]:
        copy = self._sent.setdefault(body, _Copy(body))
        del body
        copy.readers += 1
        try:
            yield copy.content
        finally:
            copy.readers -= 1
            if not copy.readers:
                del self._sent[copy.content]


@dataclass(slots=True)
class _Copy:
    """One object that is being sent, to so many at once."""

    content: bytes
    readers: int = 0


class Answer:
    """An application's answer, caught so that the application is done before the peer has it."""

    def __init__(self) -> None:
        self.start: Message = {}
        self._parts: list[bytes] = []

    async def catch(self, message: Message) -> None:
        """To be given to the application in place of ``send``."""
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self._parts.append(message.get("body", b""))

    def take_body(self) -> bytes:
        """All of the body, which is not kept."""
        body, self._parts = b"".join(self._parts), []
        return body
