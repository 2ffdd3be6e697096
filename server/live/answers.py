"""Whole HTTP responses in ASGI's terms."""

from __future__ import annotations

import json
from collections.abc import Iterable

from server.live.asgi import Send

Headers = Iterable[tuple[bytes, bytes]]


async def answer_json(send: Send, status: int, data: object, extra: Headers = ()) -> None:
    """Send plain data as JSON, with ``extra`` headers."""
    await answer(send, status, json.dumps(data).encode(), b"application/json", extra)


async def answer(send: Send, status: int, body: bytes, media_type: bytes, extra: Headers = ()) -> None:
    """Send a whole response; after a refusal the connection ends."""
    headers = [
        *extra,
        (b"content-type", media_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if status >= 400:
        # What was not read of a refused request is not worth reading.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
