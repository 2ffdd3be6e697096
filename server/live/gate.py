"""The gate: what stands before Flower's server and decides, before anything is parsed, who may ask for what.

Open to all are the health check, the CA certificate and enrolment. Devices whose key is registered reach the
Fleet API. The operator, by a token, reaches the rest. Every other request is turned away, logged and counted.
"""

from __future__ import annotations

import logging

from server.live import device_calls, flower_state, open_calls, operator_calls
from server.live.admission import Call, GateOptions, OtherSessionError, RefusedError
from server.live.answers import answer_json
from server.live.asgi import App, Receive, Scope, Send
from server.live.body import BodyProblemError
from server.live.gate_state import GateState
from server.live.home import ServerHome
from shared_models.call_signature import SESSION_HEADER
from shared_models.errors import FedVoiceError

_SIGNED_HEADERS = (b"flwr-", b"x-fedvoice-")


class Gate:
    """The ASGI middleware. One instance lives in the SuperLink's process, on its event loop."""

    def __init__(self, app: App, home: ServerHome, version: str, options: GateOptions | None = None) -> None:
        self._state = GateState.of(app, home, options or GateOptions())
        self._operator = operator_calls.OperatorCalls(self._state)
        self._devices = device_calls.DeviceCalls(self._state)
        self._anyone = open_calls.OpenCalls(self._state, version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one connection event of the server."""
        if scope["type"] == "lifespan":
            self._set_up(scope)
            await self._state.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        peer, path, refusals = self._state.peer(scope), str(scope["path"]), self._state.refusals
        try:
            await self._serve(scope, receive, send, peer, path)
        except OtherSessionError as refused:
            # No fault of the device's: it asks again, signed for this session.
            told = [(SESSION_HEADER.encode(), self._state.admission.session.encode())]
            await answer_json(send, refused.status, {"error": refused.reason}, told)
        except RefusedError as refused:
            refusals.note(refused.kind, refused.reason, peer=peer, path=path, node=refused.node)
            await answer_json(send, refused.status, {"error": refused.reason})
        except BodyProblemError as problem:
            refusals.note(problem.kind, str(problem), peer=peer, path=path)
            await answer_json(send, problem.status, {"error": str(problem)})
        except FedVoiceError as trouble:
            # The registry's disk, say: devices come back later.
            refusals.note("server trouble", str(trouble), peer=peer, path=path)
            await answer_json(send, 503, {"error": str(trouble)})

    async def _serve(self, scope: Scope, receive: Receive, send: Send, peer: str, path: str) -> None:
        admission = self._state.admission
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        if operator_calls.is_ours(path):
            admission.operator(headers, peer, path)
            await self._operator.serve(scope, receive, send, path)
        elif device_calls.is_ours(path):
            await self._devices.serve(scope, receive, send, _call(scope, headers, peer))
        else:
            admission.limit_stranger(peer)
            if not open_calls.is_ours(path):
                raise RefusedError(404, "unknown path", "there is nothing here")
            await self._anyone.serve(scope, receive, send, path)

    def _set_up(self, scope: Scope) -> None:
        # Every poll of every device would be a line.
        logging.getLogger("uvicorn.access").disabled = True
        link = flower_state.link_state(scope["app"])
        # What was withdrawn while the SuperLink was down.
        for device in self._state.registry.devices():
            if device.state != "active":
                flower_state.unregister_node(link, device.node_id)


def _call(scope: Scope, headers: dict[str, bytes], peer: str) -> Call:
    _refuse_repeated(scope["headers"])
    path, query = str(scope["path"]), bytes(scope.get("query_string", b"")).decode("latin-1")
    return Call(str(scope["method"]), f"{path}?{query}" if query else path, headers, peer)


def _refuse_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    """Raise :class:`RefusedError` for a call of which the gate would read one header, and Flower another."""
    names = [name for name, _ in headers if name.startswith(_SIGNED_HEADERS)]
    if len(names) != len(set(names)):
        raise RefusedError(400, "repeated header", "a header that says who calls is there twice")
