"""The gate: what stands before Flower's server and decides, before anything is parsed, who may ask for what.

Open to all are the health check, the CA certificate and enrolment. Devices whose key is registered reach the
Fleet API. The operator, by a token, reaches the rest. Every other request is turned away, logged and counted.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.concurrency import run_in_threadpool

from server.live import enrolment, flower_state, inspection
from server.live.admission import Admission, Call, GateOptions, OtherSessionError, RefusedError
from server.live.answers import answer, answer_json
from server.live.body import BodyProblemError, read_body, replayed, spool_body
from server.live.forwarded import peer_of
from server.live.home import ServerHome
from server.live.journal import read_standing
from server.live.metrics import Traffic, figures, prometheus
from server.live.model_desk import ModelDesk, is_ours
from server.live.refusals import Refusals
from server.live.registry import Registered, Registry
from server.live.transfers import Answer, Transfers
from shared_models.bundle import bundle
from shared_models.call_signature import SESSION_HEADER
from shared_models.errors import EnrolmentError, FedVoiceError, ServiceError
from shared_models.published_model import MODEL_PATH

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FLEET = "/v1/fleet/"
_FLEET_CALLS = frozenset(
    {
        "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages", "get-run",
        "get-fab", "push-object", "pull-object", "confirm-message-received",
    }
)  # fmt: skip
_OPERATOR = ("/v1/control/", "/v1/runtime/")
_OPERATOR_PAGES = frozenset({"/fedvoice/status", "/fedvoice/metrics", "/fedvoice/revoke"})
_OPEN = {
    "/health": "GET", "/fedvoice/ca.pem": "GET", "/fedvoice/inspect": "POST", "/fedvoice/enrol": "POST",
    "/fedvoice/leave": "POST",
}  # fmt: skip
_SIGNED_HEADERS = (b"flwr-", b"x-fedvoice-")
_IN_USE = 412
"""How Flower answers who comes online with the key of a node that is online."""
_SEEN_SECONDS = 15.0
_POLL_SECONDS = 4.0
"""A device with nothing to do asks every 3 s."""


class Gate:
    """The ASGI middleware. One instance lives in the SuperLink's process, on its event loop."""

    def __init__(self, app: App, home: ServerHome, version: str, options: GateOptions | None = None) -> None:
        self._app = app
        self._home = home
        self._version = version
        self._options = options or GateOptions()
        self._settings = home.settings()
        self._ca = home.secret("ca.pem")
        self._registry = Registry(home.registry)
        self._refusals = Refusals(home.path("refusals.jsonl"))
        self._traffic = Traffic()
        self._admission = Admission(home, self._registry, self._options)
        self._started_at = time.time()
        self._heard: dict[bytes, float] = {}
        self._unwritten: dict[bytes, float] = {}
        self._flushed_at = time.monotonic()
        self._sent_objects: dict[bytes, int] = {}
        self._transfers = Transfers()
        self._desk = ModelDesk(home)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one connection event of the server."""
        if scope["type"] == "lifespan":
            self._set_up(scope)
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        connected = (scope.get("client") or ("unknown", 0))[0]
        peer = peer_of(connected, scope["headers"], self._options.proxies)
        path = str(scope["path"])
        try:
            await self._serve(scope, receive, send, peer, path)
        except OtherSessionError as refused:
            # No fault of the device's: it asks again, signed for this session.
            told = [(SESSION_HEADER.encode(), self._admission.session.encode())]
            await answer_json(send, refused.status, {"error": refused.reason}, told)
        except RefusedError as refused:
            self._refusals.note(refused.kind, refused.reason, peer=peer, path=path, node=refused.node)
            await answer_json(send, refused.status, {"error": refused.reason})
        except BodyProblemError as problem:
            self._refusals.note(problem.kind, str(problem), peer=peer, path=path)
            await answer_json(send, problem.status, {"error": str(problem)})
        except FedVoiceError as trouble:
            # The registry's disk, say: devices come back later.
            self._refusals.note("server trouble", str(trouble), peer=peer, path=path)
            await answer_json(send, 503, {"error": str(trouble)})

    async def _serve(self, scope: Scope, receive: Receive, send: Send, peer: str, path: str) -> None:
        method = str(scope["method"])
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        if path.startswith(_OPERATOR) or path in _OPERATOR_PAGES:
            self._admission.operator(headers, peer, path)
            await self._serve_operator(scope, receive, send, path)
        elif path.startswith(_FLEET) and path[len(_FLEET) :] in _FLEET_CALLS:
            call = self._call(scope, method, path, headers, peer)
            await self._serve_device(scope, receive, send, call, path[len(_FLEET) :])
        elif is_ours(path):
            await self._serve_model(scope, receive, send, self._call(scope, method, path, headers, peer))
        elif path in _OPEN:
            self._admission.limit_stranger(peer)
            if method != _OPEN[path]:
                raise RefusedError(405, "wrong method", f"{path} takes {_OPEN[path]} only")
            self._traffic.requests[path] += 1
            await self._serve_anyone(scope, receive, send, path)
        else:
            self._admission.limit_stranger(peer)
            raise RefusedError(404, "unknown path", "there is nothing here")

    @staticmethod
    def _call(scope: Scope, method: str, path: str, headers: dict[str, bytes], peer: str) -> Call:
        _refuse_repeated(scope["headers"])
        query = bytes(scope.get("query_string", b"")).decode("latin-1")
        return Call(method, f"{path}?{query}" if query else path, headers, peer)

    async def _serve_model(self, scope: Scope, receive: Receive, send: Send, call: Call) -> None:
        device, path = self._admission.device(call), str(scope["path"])
        self._traffic.requests["model"] += 1
        if call.method != "GET":
            raise RefusedError(405, "wrong method", "a model is fetched with GET", str(device.node_id))
        # A GET has no body, and its signature says so.
        await read_body(receive, scope["headers"], 0, self._options.limits.body_seconds, call.digest)
        if path == MODEL_PATH:
            await answer_json(self._counted(send), 200, await run_in_threadpool(self._desk.standing))
            return
        query = bytes(scope.get("query_string", b""))
        found = await run_in_threadpool(self._desk.piece, path, query)
        await answer(self._counted(send), 200, found, b"application/octet-stream")

    async def _serve_operator(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        self._traffic.requests["operator"] += 1
        if path in _OPERATOR_PAGES:
            body = await read_body(receive, scope["headers"], self._options.limits.call_bytes, 10.0)
            await self._operator_page(scope, send, path, body)
            return
        limits = self._options.limits
        body = await read_body(receive, scope["headers"], limits.operator_bytes, limits.body_seconds)
        if path == "/v1/control/start-run" and flower_state.submitted_bundle(body) != bundle():
            reason = (
                "this server starts no run but FedVoice's own, which carries no code: devices would refuse any other, "
                "and nothing here would execute it"
            )
            raise RefusedError(403, "foreign run", reason)
        await self._app(scope, replayed(body, receive), send)

    async def _operator_page(self, scope: Scope, send: Send, path: str, body: bytes) -> None:
        if path == "/fedvoice/revoke":
            await self._revoke(scope, send, body)
            return
        heard = {key for key, at in self._heard.items() if time.time() - at < _POLL_SECONDS}
        untold = self._desk.untold(heard)
        data = await run_in_threadpool(
            lambda: (
                {"untold": untold}
                | figures(
                    read_standing(self._home.folder),
                    self._registry.devices(),
                    dict(self._heard),
                    self._traffic,
                    dict(self._refusals.counts),
                    self._settings.population,
                )
            )
        )
        if path == "/fedvoice/status":
            await answer_json(send, 200, data)
        else:
            await answer(send, 200, prometheus(data).encode(), b"text/plain; version=0.0.4; charset=utf-8")

    async def _revoke(self, scope: Scope, send: Send, body: bytes) -> None:
        try:
            asked = json.loads(body)
            by = asked.get("by")
            if by not in (None, "number", "name", "key"):
                raise ServiceError("a device is meant by its number, its name or its key")
            device = self._registry.named(str(asked["device"]), by)
        except (FedVoiceError, ValueError, KeyError, TypeError, AttributeError) as error:
            await answer_json(send, 400, {"error": str(error)})
            return
        await run_in_threadpool(self._registry.withdraw, device.public_key, "revoked")
        await run_in_threadpool(
            flower_state.unregister_node, flower_state.link_state(scope["app"]), device.node_id
        )
        self._admission.registry_changed()
        await answer_json(send, 200, {"member": device.member, "name": device.name})

    async def _serve_anyone(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        if path == "/health":
            await answer_json(send, 200, {"status": "ok"})
            return
        if path == "/fedvoice/ca.pem":
            await answer(send, 200, self._ca, b"application/x-pem-file")
            return
        body = await read_body(receive, scope["headers"], self._options.limits.enrolment_bytes, 10.0)
        work, kind = {
            "/fedvoice/inspect": (self._inspect, "join code refused"),
            "/fedvoice/enrol": (self._enrol, "enrolment refused"),
            "/fedvoice/leave": (self._leave, "leaving refused"),
        }[path]
        try:
            told = await run_in_threadpool(work, scope["app"], body)
        except EnrolmentError as error:
            raise RefusedError(403, kind, str(error)) from None
        except FedVoiceError as error:
            raise RefusedError(503, "server trouble", str(error)) from None
        if path != "/fedvoice/inspect":
            self._admission.registry_changed()
        await answer_json(send, 200, told)

    def _inspect(self, _app: Any, body: bytes) -> dict[str, Any]:
        return inspection.inspect(body, self._home, self._registry, self._version)

    def _enrol(self, app: Any, body: bytes) -> dict[str, Any]:
        state = flower_state.link_state(app)
        return enrolment.enrol(
            body,
            self._settings,
            self._registry,
            self._version,
            lambda key, name: flower_state.register_node(state, key, name),
        )

    def _leave(self, app: Any, body: bytes) -> dict[str, Any]:
        device = enrolment.leave(body, self._registry)
        flower_state.unregister_node(flower_state.link_state(app), device.node_id)
        return {"member": device.member, "state": device.state}

    async def _serve_device(self, scope: Scope, receive: Receive, send: Send, asked: Call, call: str) -> None:
        device = self._admission.device(asked)
        self._traffic.requests[call] += 1
        if call == "push-object":
            with self._transfers.arriving(device.node_id):
                await self._take_object(scope, receive, send, asked, device)
        else:
            await self._forward(scope, receive, send, asked, call, device)
        if time.monotonic() - self._flushed_at > _SEEN_SECONDS:
            await self._flush_seen()

    async def _let_in(self, scope: Scope, device: Registered) -> None:
        heard = self._heard.get(device.public_key, self._started_at)
        if time.time() - heard >= self._options.takeover_seconds:
            await run_in_threadpool(
                flower_state.let_in_again, flower_state.link_state(scope["app"]), device.node_id
            )

    async def _take_object(
        self, scope: Scope, receive: Receive, send: Send, asked: Call, device: Registered
    ) -> None:
        limits = self._options.limits
        spool = await spool_body(
            receive,
            scope["headers"],
            limits.object_bytes,
            limits.body_seconds,
            self._home.folder,
            asked.digest,
        )
        with spool:
            size = spool.seek(0, os.SEEK_END)
            spool.seek(0)
            self._count_object(device, size)
            self._note_heard(device, size)
            async with self._transfers.handling():
                await self._app(scope, replayed(spool.read(), receive), self._counted(send))

    async def _forward(
        self, scope: Scope, receive: Receive, send: Send, asked: Call, call: str, device: Registered
    ) -> None:
        limits = self._options.limits
        most, seconds = limits.for_fleet(call), limits.body_seconds
        body = await read_body(receive, scope["headers"], most, seconds, asked.digest)
        if call == "push-messages":
            self._check_senders(device, body)
        if call == "activate-node":
            await self._let_in(scope, device)
            self._traffic.bytes_in += len(body)
            await self._app(scope, replayed(body, receive), self._noting_second(scope, device, send))
            return
        self._note_heard(device, len(body))
        if call == "pull-object":
            found = Answer()
            async with self._transfers.handling():
                await self._app(scope, replayed(body, receive), found.catch)
            await self._transfers.send(found, self._counted(send))
            return
        told = self._desk.headers(device.public_key) if call == "pull-messages" else []
        await self._app(scope, replayed(body, receive), self._counted(_adding(told, send)))

    def _note_heard(self, device: Registered, size: int) -> None:
        self._traffic.bytes_in += size
        self._heard[device.public_key] = self._unwritten[device.public_key] = time.time()

    def _counted(self, send: Send) -> Send:
        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                self._traffic.bytes_out += len(message.get("body", b""))
            await send(message)

        return counted

    def _noting_second(self, scope: Scope, device: Registered, send: Send) -> Send:
        async def noting(message: MutableMapping[str, Any]) -> None:
            if message.get("status") == _IN_USE:
                self._note_second_process(scope, device)
            await send(message)

        return self._counted(noting)

    def _note_second_process(self, scope: Scope, device: Registered) -> None:
        # Or the first one's next start, a few seconds after it died.
        reason = "a second process with this key came while the first is online"
        connected = (scope.get("client") or ("unknown", 0))[0]
        peer = peer_of(connected, scope["headers"], self._options.proxies)
        self._refusals.note(
            "key in use", reason, peer=peer, path=str(scope["path"]), node=str(device.node_id)
        )

    def _check_senders(self, device: Registered, body: bytes) -> None:
        senders = flower_state.senders(body)
        if senders - {device.node_id}:
            reason = "a reply that names another device as its sender"
            raise RefusedError(403, "forged sender", reason, str(device.node_id))
        self._sent_objects[device.public_key] = 0

    def _count_object(self, device: Registered, size: int) -> None:
        sent = self._sent_objects.get(device.public_key, 0) + size
        if sent > self._settings.update_bytes * 1.25 + 2 * 1024 * 1024:
            reason = "one reply with more bytes than the model has"
            raise RefusedError(413, "too large", reason, str(device.node_id))
        self._sent_objects[device.public_key] = sent

    async def _flush_seen(self) -> None:
        self._flushed_at = time.monotonic()
        moments, self._unwritten = self._unwritten, {}
        try:
            await run_in_threadpool(self._registry.seen, moments)
        except FedVoiceError as error:
            logging.getLogger(__name__).warning("%s", error)

    def _set_up(self, scope: Scope) -> None:
        # Every poll of every device would be a line.
        logging.getLogger("uvicorn.access").disabled = True
        state = flower_state.link_state(scope["app"])
        # What was withdrawn while the SuperLink was down.
        for device in self._registry.devices():
            if device.state != "active":
                flower_state.unregister_node(state, device.node_id)


def _adding(headers: list[tuple[bytes, bytes]], send: Send) -> Send:
    if not headers:
        return send

    async def adding(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return adding


def _refuse_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    """Raise :class:`RefusedError` for a call of which the gate would read one header, and Flower another."""
    names = [name for name, _ in headers if name.startswith(_SIGNED_HEADERS)]
    if len(names) != len(set(names)):
        raise RefusedError(400, "repeated header", "a header that says who calls is there twice")
