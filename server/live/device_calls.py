"""What registered devices ask of the gate: Flower's Fleet API, and the model that their federation published."""

from __future__ import annotations

import logging
import os
import time

from starlette.concurrency import run_in_threadpool

from server.live import flower_state, model_desk
from server.live.admission import Call, RefusedError
from server.live.answers import answer, answer_json
from server.live.asgi import Message, Receive, Scope, Send
from server.live.body import read_body, replayed, spool_body
from server.live.gate_state import GateState
from server.live.registry import Registered
from server.live.transfers import Answer, Transfers
from shared_models.errors import FedVoiceError
from shared_models.published_model import MODEL_PATH

_FLEET = "/v1/fleet/"
FLEET_CALLS = frozenset(
    {
        "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages", "get-run",
        "get-fab", "push-object", "pull-object", "confirm-message-received",
    }
)  # fmt: skip
"""The calls of the Fleet API that a device has a use for; registering is not one of them."""
_IN_USE = 412
"""How Flower answers who comes online with the key of a node that is online."""
_SEEN_SECONDS = 15.0


def is_ours(path: str) -> bool:
    """Whether a path is answered here."""
    fleet = path.startswith(_FLEET) and path[len(_FLEET) :] in FLEET_CALLS
    return fleet or model_desk.is_ours(path)


class DeviceCalls:
    """Serves devices whose key is registered and whose call is signed with it."""

    def __init__(self, state: GateState) -> None:
        self._state = state
        self._unwritten: dict[bytes, float] = {}
        self._flushed_at = time.monotonic()
        self._sent_objects: dict[bytes, int] = {}
        self._transfers = Transfers()

    async def serve(self, scope: Scope, receive: Receive, send: Send, asked: Call) -> None:
        """Answer one call of a path that is ours, or give it to Flower. Raises :class:`RefusedError`."""
        device, path = self._state.admission.device(asked), str(scope["path"])
        if model_desk.is_ours(path):
            await self._serve_model(scope, receive, send, asked, device)
            return
        call = path[len(_FLEET) :]
        self._state.traffic.requests[call] += 1
        if call == "push-object":
            with self._transfers.arriving(device.node_id):
                await self._take_object(scope, receive, send, asked, device)
        else:
            await self._forward(scope, receive, send, asked, call, device)
        if time.monotonic() - self._flushed_at > _SEEN_SECONDS:
            await self._flush_seen()

    async def _serve_model(
        self, scope: Scope, receive: Receive, send: Send, asked: Call, device: Registered
    ) -> None:
        path, desk = str(scope["path"]), self._state.desk
        self._state.traffic.requests["model"] += 1
        if asked.method != "GET":
            raise RefusedError(405, "wrong method", "a model is fetched with GET", str(device.node_id))
        # A GET has no body, and its signature says so.
        await read_body(receive, scope["headers"], 0, self._state.options.limits.body_seconds, asked.digest)
        if path == MODEL_PATH:
            await answer_json(self._counted(send), 200, await run_in_threadpool(desk.standing))
            return
        query = bytes(scope.get("query_string", b""))
        found = await run_in_threadpool(desk.piece, path, query)
        await answer(self._counted(send), 200, found, b"application/octet-stream")

    async def _take_object(
        self, scope: Scope, receive: Receive, send: Send, asked: Call, device: Registered
    ) -> None:
        limits = self._state.options.limits
        spool = await spool_body(
            receive,
            scope["headers"],
            limits.object_bytes,
            limits.body_seconds,
            self._state.home.folder,
            asked.digest,
        )
        with spool:
            size = spool.seek(0, os.SEEK_END)
            spool.seek(0)
            self._count_object(device, size)
            self._note_heard(device, size)
            async with self._transfers.handling():
                await self._state.app(scope, replayed(spool.read(), receive), self._counted(send))

    async def _forward(
        self, scope: Scope, receive: Receive, send: Send, asked: Call, call: str, device: Registered
    ) -> None:
        limits = self._state.options.limits
        most, seconds = limits.for_fleet(call), limits.body_seconds
        body = await read_body(receive, scope["headers"], most, seconds, asked.digest)
        if call == "push-messages":
            self._check_senders(device, body)
        if call == "activate-node":
            await self._let_in(scope, device)
            self._state.traffic.bytes_in += len(body)
            noting = self._noting_second(scope, asked, device, send)
            await self._state.app(scope, replayed(body, receive), noting)
            return
        self._note_heard(device, len(body))
        if call == "pull-object":
            found = Answer()
            async with self._transfers.handling():
                await self._state.app(scope, replayed(body, receive), found.catch)
            await self._transfers.send(found, self._counted(send))
            return
        told = self._state.desk.headers(device.public_key) if call == "pull-messages" else []
        await self._state.app(scope, replayed(body, receive), self._counted(_adding(told, send)))

    async def _let_in(self, scope: Scope, device: Registered) -> None:
        heard = self._state.heard.get(device.public_key, self._state.started_at)
        if time.time() - heard >= self._state.options.takeover_seconds:
            await run_in_threadpool(
                flower_state.let_in_again, flower_state.link_state(scope["app"]), device.node_id
            )

    def _note_heard(self, device: Registered, size: int) -> None:
        self._state.traffic.bytes_in += size
        self._state.heard[device.public_key] = self._unwritten[device.public_key] = time.time()

    def _counted(self, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.body":
                self._state.traffic.bytes_out += len(message.get("body", b""))
            await send(message)

        return counted

    def _noting_second(self, scope: Scope, asked: Call, device: Registered, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message.get("status") == _IN_USE:
                # Or the first one's next start, a few seconds after it died.
                reason = "a second process with this key came while the first is online"
                path, node = str(scope["path"]), str(device.node_id)
                self._state.refusals.note("key in use", reason, peer=asked.peer, path=path, node=node)
            await send(message)

        return self._counted(noting)

    def _check_senders(self, device: Registered, body: bytes) -> None:
        senders = flower_state.senders(body)
        if senders - {device.node_id}:
            reason = "a reply that names another device as its sender"
            raise RefusedError(403, "forged sender", reason, str(device.node_id))
        self._sent_objects[device.public_key] = 0

    def _count_object(self, device: Registered, size: int) -> None:
        sent = self._sent_objects.get(device.public_key, 0) + size
        if sent > self._state.settings.update_bytes * 1.25 + 2 * 1024 * 1024:
            reason = "one reply with more bytes than the model has"
            raise RefusedError(413, "too large", reason, str(device.node_id))
        self._sent_objects[device.public_key] = sent

    async def _flush_seen(self) -> None:
        self._flushed_at = time.monotonic()
        moments, self._unwritten = self._unwritten, {}
        try:
            await run_in_threadpool(self._state.registry.seen, moments)
        except FedVoiceError as error:
            logging.getLogger(__name__).warning("%s", error)


def _adding(headers: list[tuple[bytes, bytes]], send: Send) -> Send:
    if not headers:
        return send

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return adding
