"""Connections on which nothing arrives are ended: uvicorn, which is Flower's server, waits for a request without limit.

uvicorn ends a connection that is idle between two requests, and the gate ends one whose body is slow. Neither notices
a peer that connects and sends nothing, or that sends the head of its request byte by byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.loops.auto import auto_loop_factory
from uvicorn.protocols.http.auto import AutoHTTPProtocol


def prompt_protocol(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's own protocol, which ends a connection that has no whole request's head within ``seconds``.

    The time runs from the connection's beginning, and again from the end of each answer.
    """

    class PromptProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._serving():
                self._stop_waiting()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self._serving():
                self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _serving(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _wait_for_head(self) -> None:
            self._stop_waiting()
            # Not closed but dropped: a peer that says nothing would not say goodbye either.
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return PromptProtocol


def prompt_loop(seconds: float) -> Callable[[], asyncio.AbstractEventLoop]:
    """uvicorn's own event loop, whose servers give a TLS handshake ``seconds`` instead of a minute."""

    def make() -> asyncio.AbstractEventLoop:
        loop = auto_loop_factory()()
        # uvicorn offers no parameter for it.
        vars(loop)["create_server"] = partial(_create_server, loop.create_server, seconds)
        return loop

    return make


async def _create_server(plain: Callable[..., Any], seconds: float, *args: Any, **options: Any) -> Any:
    if options.get("ssl") is not None:
        options.setdefault("ssl_handshake_timeout", seconds)
    return await plain(*args, **options)
