"""What anybody may ask of the gate: whether the server is well, its CA certificate, to enrol and to leave."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool

from server.live import enrolment, flower_state, inspection
from server.live.admission import RefusedError
from server.live.answers import answer, answer_json
from server.live.asgi import Receive, Scope, Send
from server.live.body import read_body
from server.live.gate_state import GateState
from shared_models.errors import EnrolmentError, FedVoiceError

_METHODS = {
    "/health": "GET", "/fedvoice/ca.pem": "GET", "/fedvoice/inspect": "POST", "/fedvoice/enrol": "POST",
    "/fedvoice/leave": "POST",
}  # fmt: skip


def is_ours(path: str) -> bool:
    """Whether a path is answered here."""
    return path in _METHODS


class OpenCalls:
    """Serves strangers, whose number is limited already."""

    def __init__(self, state: GateState, version: str) -> None:
        self._state = state
        self._version = version
        self._ca = state.home.secret("ca.pem")

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Answer one call of a path that is ours. Raises :class:`RefusedError`."""
        if scope["method"] != _METHODS[path]:
            raise RefusedError(405, "wrong method", f"{path} takes {_METHODS[path]} only")
        self._state.traffic.requests[path] += 1
        if path == "/health":
            await answer_json(send, 200, {"status": "ok"})
        elif path == "/fedvoice/ca.pem":
            await answer(send, 200, self._ca, b"application/x-pem-file")
        else:
            await self._join_or_leave(scope, receive, send, path)

    async def _join_or_leave(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        most = self._state.options.limits.enrolment_bytes
        body = await read_body(receive, scope["headers"], most, 10.0)
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
            self._state.admission.registry_changed()
        await answer_json(send, 200, told)

    def _inspect(self, _app: Any, body: bytes) -> dict[str, Any]:
        return inspection.inspect(body, self._state.home, self._state.registry, self._version)

    def _enrol(self, app: Any, body: bytes) -> dict[str, Any]:
        link = flower_state.link_state(app)
        return enrolment.enrol(
            body,
            self._state.settings,
            self._state.registry,
            self._version,
            lambda key, name: flower_state.register_node(link, key, name),
        )

    def _leave(self, app: Any, body: bytes) -> dict[str, Any]:
        device = enrolment.leave(body, self._state.registry)
        flower_state.unregister_node(flower_state.link_state(app), device.node_id)
        return {"member": device.member, "state": device.state}
