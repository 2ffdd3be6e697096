"""A proxy that stands between devices and server with the server's own key, and keeps every byte in the clear.

TLS hides what passes from everybody without that key, and so from a test. Whoever owns the certificate authority
can end TLS in the middle: devices find their federation's certificate here, and notice nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from shared_models.errors import ServiceError
from shared_models.join_code import host_and_port

_CHUNK = 256 * 1024
_START_SECONDS = 30.0


@dataclass(slots=True)
class Conversation:
    """One connection, without TLS."""

    up: bytearray = field(default_factory=bytearray)
    """What the device said."""
    down: bytearray = field(default_factory=bytearray)
    """What the server said."""


class WireTap:
    """Listens at ``listen`` as the server of ``home`` does, and passes everything on to ``upstream``.

    Use it as a context. ``conversations`` grows meanwhile; each is whole once its connection has ended.
    """

    def __init__(self, home: Path, listen: str, upstream: str) -> None:
        self.conversations: list[Conversation] = []
        self._home, self._listen, self._upstream = home, listen, upstream
        self._cut_at: int | None = None
        self.cuts = 0
        """How often a connection was cut in the middle of what a device said."""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end: asyncio.Event | None = None
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="wire tap", daemon=True)

    def __enter__(self) -> WireTap:
        self._thread.start()
        if not self._ready.wait(_START_SECONDS) or self._problem is not None:
            raise ServiceError(f"the wire tap cannot listen on {self._listen}: {self._problem}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_START_SECONDS)

    def cut_after(self, size: int) -> None:
        """Cut the next connection on which a device has said so many bytes, wherever in a message that is."""
        self._cut_at = size

    def everything(self) -> bytes:
        """All that was said on any connection, first by the devices, then by the server."""
        return b"".join(bytes(c.up) for c in self.conversations) + self.from_server()

    def from_devices(self) -> bytes:
        """All that devices said."""
        return b"".join(bytes(c.up) for c in self.conversations)

    def from_server(self) -> bytes:
        """All that the server said."""
        return b"".join(bytes(c.down) for c in self.conversations)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as problem:
            self._problem = problem
            self._ready.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ours.load_cert_chain(self._home / "server.pem", self._home / "server.key")
        self._theirs = ssl.create_default_context(cafile=str(self._home / "ca.pem"))
        host, port = host_and_port(self._listen)
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._pass_on, host, port, ssl=ours)
        self._ready.set()
        await self._end.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = host_and_port(self._upstream)
        said = Conversation()
        self.conversations.append(said)
        try:
            upstream = await asyncio.open_connection(host, port, ssl=self._theirs)
        except OSError:
            # The server is away, and so is this.
            writer.transport.abort()
            return
        up = asyncio.create_task(self._pump(reader, upstream[1], said.up, writer))
        down = asyncio.create_task(self._pump(upstream[0], writer, said.down, None))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            for end in (writer, upstream[1]):
                with contextlib.suppress(OSError):
                    end.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        kept: bytearray,
        device: asyncio.StreamWriter | None,
    ) -> None:
        """Pass on and keep; ``device`` is given where the device is the one that speaks."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                kept += data
                if device is not None and self._cut_at is not None and len(kept) >= self._cut_at:
                    self._cut_at = None
                    self.cuts += 1
                    # Half of the chunk arrives, and neither side is told why no more does.
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    writer.transport.abort()
                    device.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
