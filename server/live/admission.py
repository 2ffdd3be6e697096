"""Who may pass the gate, decided from a request's headers alone."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import dataclass, field, replace

from server.live import flower_state, signatures
from server.live.home import ServerHome
from server.live.limits import Buckets, Limits
from server.live.registry import Registered, Registry
from shared_models.errors import EnrolmentError

Headers = dict[str, bytes]
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_RELOAD_SECONDS = 1.0


class RefusedError(Exception):
    """A request that the gate turns away: status, kind for the counts, and one sentence."""

    def __init__(self, status: int, kind: str, reason: str, node: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason, self.node = status, kind, reason, node


@dataclass(frozen=True, slots=True)
class GateOptions:
    """What the operator may choose about the gate."""

    limits: Limits = field(default_factory=Limits)
    metrics_on_loopback: bool = False
    """Give the metrics to this machine's processes without the token."""
    takeover_seconds: float = 8.0
    """A device that restarts is let in once its former process has been silent for so long."""


def gate_options(home: ServerHome) -> GateOptions:
    """The options in the home's ``gate.json``, or the defaults where there is none."""
    try:
        chosen = json.loads(home.path("gate.json").read_text())
    except (OSError, ValueError):
        return GateOptions()
    limits = Limits()
    stranger = replace(limits.stranger, burst=float(chosen.get("stranger_burst", limits.stranger.burst)))
    return GateOptions(
        limits=replace(limits, stranger=stranger),
        metrics_on_loopback=bool(chosen.get("metrics_on_loopback", False)),
    )


class Admission:
    """Lets the operator, registered devices and a few strangers at a time through."""

    def __init__(self, home: ServerHome, registry: Registry, options: GateOptions) -> None:
        self._token = home.secret("admin.token").strip()
        self._registry = registry
        self._options = options
        self._strangers = Buckets(options.limits.stranger)
        self._devices = Buckets(options.limits.device)
        self._known: dict[bytes, Registered] = {}
        self._reloaded_at = -_RELOAD_SECONDS

    def registry_changed(self) -> None:
        """Read the registry anew at the next request, rather than within a second."""
        self._reloaded_at = -_RELOAD_SECONDS

    def limit_stranger(self, peer: str) -> None:
        """Count a request of a peer that is not known; raises :class:`RefusedError` if it is one too many."""
        if not self._strangers.take(peer):
            raise RefusedError(429, "too many requests", "too many requests from this address: slow down")

    def operator(self, headers: Headers, peer: str, path: str) -> None:
        """Raise :class:`RefusedError` for anybody but the operator."""
        given = headers.get(flower_state.ADMIN_HEADER, b"")
        if hmac.compare_digest(given, self._token):
            return
        if path == "/fedvoice/metrics" and self._options.metrics_on_loopback and peer in _LOOPBACK:
            return
        self.limit_stranger(peer)
        raise RefusedError(
            401,
            "not the operator",
            "only this server's operator may do this: the admin token is missing or wrong",
        )

    def device(self, headers: Headers, peer: str, call: str) -> Registered:
        """The active device that makes this Fleet call; raises :class:`RefusedError` if it is none."""
        try:
            key = signatures.from_base64(headers.get(flower_state.NODE_KEY_HEADER, b"").decode("latin-1"))
        except EnrolmentError:
            key = b""
        device = self._device(key)
        if device is None:
            self.limit_stranger(peer)
            raise RefusedError(
                401, "unregistered key", "this key is not registered here: join with a join code"
            )
        node = str(device.node_id)
        if device.state != "active":
            self.limit_stranger(peer)
            raise RefusedError(
                403, f"{device.state} device", f"this device's key was withdrawn ({device.state})", node
            )
        # Flower verifies every call's signature after parsing it; what is large or grants entry is verified here.
        if call in ("activate-node", "push-messages", "push-object"):
            problem = _signature_problem(headers, key)
            if problem:
                self.limit_stranger(peer)
                raise RefusedError(401, "wrong signature", problem, node)
        if not self._devices.take(key):
            raise RefusedError(
                429, "too many requests", "too many requests from this device: slow down", node
            )
        return device

    def _device(self, key: bytes) -> Registered | None:
        now = time.monotonic()
        if now - self._reloaded_at >= _RELOAD_SECONDS:
            self._known = {device.public_key: device for device in self._registry.devices()}
            self._reloaded_at = now
        return self._known.get(key)


def _signature_problem(headers: Headers, key: bytes) -> str | None:
    try:
        proof = signatures.from_base64(headers.get(flower_state.NODE_SIGNATURE_HEADER, b"").decode("latin-1"))
    except EnrolmentError as error:
        return str(error)
    return signatures.signed_now(
        key, headers.get(flower_state.NODE_TIMESTAMP_HEADER, b"").decode("latin-1"), proof
    )
