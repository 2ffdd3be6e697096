"""What the operator alone may ask of the gate: Flower's Control and Runtime APIs, figures, and to revoke a device."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.concurrency import run_in_threadpool

from server.live import flower_state
from server.live.admission import RefusedError
from server.live.answers import answer, answer_json
from server.live.asgi import Receive, Scope, Send
from server.live.body import read_body, replayed
from server.live.gate_state import GateState
from server.live.journal import read_standing
from server.live.metrics import figures, prometheus
from shared_models.bundle import bundle
from shared_models.errors import FedVoiceError, ServiceError

_FLOWER = ("/v1/control/", "/v1/runtime/")
_PAGES = frozenset({"/fedvoice/status", "/fedvoice/metrics", "/fedvoice/revoke"})
_POLL_SECONDS = 4.0
"""A device with nothing to do asks every 3 s."""


def is_ours(path: str) -> bool:
    """Whether a path is answered here."""
    return path.startswith(_FLOWER) or path in _PAGES


class OperatorCalls:
    """Serves whoever has shown the operator's token."""

    def __init__(self, state: GateState) -> None:
        self._state = state

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Answer one call of a path that is ours, or give it to Flower. Raises :class:`RefusedError`."""
        self._state.traffic.requests["operator"] += 1
        limits = self._state.options.limits
        if path in _PAGES:
            body = await read_body(receive, scope["headers"], limits.call_bytes, 10.0)
            await self._page(scope, send, path, body)
            return
        body = await read_body(receive, scope["headers"], limits.operator_bytes, limits.body_seconds)
        if path == "/v1/control/start-run" and flower_state.submitted_bundle(body) != bundle():
            reason = (
                "this server starts no run but FedVoice's own, which carries no code: devices would refuse any other, "
                "and nothing here would execute it"
            )
            raise RefusedError(403, "foreign run", reason)
        await self._state.app(scope, replayed(body, receive), send)

    async def _page(self, scope: Scope, send: Send, path: str, body: bytes) -> None:
        if path == "/fedvoice/revoke":
            await self._revoke(scope, send, body)
            return
        heard = {key for key, at in self._state.heard.items() if time.time() - at < _POLL_SECONDS}
        untold = self._state.desk.untold(heard)
        data = {"untold": untold} | await run_in_threadpool(self._figures)
        if path == "/fedvoice/status":
            await answer_json(send, 200, data)
        else:
            await answer(send, 200, prometheus(data).encode(), b"text/plain; version=0.0.4; charset=utf-8")

    def _figures(self) -> dict[str, Any]:
        state = self._state
        return figures(
            read_standing(state.home.folder),
            state.registry.devices(),
            dict(state.heard),
            state.traffic,
            dict(state.refusals.counts),
            state.settings.population,
        )

    async def _revoke(self, scope: Scope, send: Send, body: bytes) -> None:
        registry = self._state.registry
        try:
            asked = json.loads(body)
            by = asked.get("by")
            if by not in (None, "number", "name", "key"):
                raise ServiceError("a device is meant by its number, its name or its key")
            device = registry.named(str(asked["device"]), by)
        except (FedVoiceError, ValueError, KeyError, TypeError, AttributeError) as error:
            await answer_json(send, 400, {"error": str(error)})
            return
        await run_in_threadpool(registry.withdraw, device.public_key, "revoked")
        await run_in_threadpool(
            flower_state.unregister_node, flower_state.link_state(scope["app"]), device.node_id
        )
        self._state.admission.registry_changed()
        await answer_json(send, 200, {"member": device.member, "name": device.name})
