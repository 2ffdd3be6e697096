"""Reading a request's body with a limit on its size and time, whatever it says about itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BodyProblemError(Exception):
    """A body that is too large, too slow or cut off, with the status to answer."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind = status, kind


async def read_body(
    receive: Receive, headers: Iterable[tuple[bytes, bytes]], most_bytes: int, seconds: float
) -> bytes:
    """The whole body. Raises :class:`BodyProblemError` as soon as it is more than ``most_bytes``: by what it
    announces before a byte is read, or, where it announces nothing, when that much has come."""
    announced = dict(headers).get(b"content-length")
    if announced is not None and (not announced.isdigit() or int(announced) > most_bytes):
        raise _too_large(most_bytes)
    try:
        async with asyncio.timeout(seconds):
            return await _collect(receive, most_bytes)
    except TimeoutError:
        raise BodyProblemError(408, "too slow", f"the body did not arrive within {seconds:.0f} s") from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body again, and then waits for the disconnection as the true one does."""
    given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _collect(receive: Receive, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyProblemError(400, "cut off", "the connection ended within the body")
        part = message.get("body", b"")
        size += len(part)
        if size > most_bytes:
            raise _too_large(most_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(most_bytes: int) -> BodyProblemError:
    return BodyProblemError(413, "too large", f"a request of this kind has at most {most_bytes} bytes")
