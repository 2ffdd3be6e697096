"""Who may pass the gate, decided from a request's headers alone."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from server.live import flower_state, signatures
from server.live.call_numbers import SeenNumbers
from server.live.forwarded import HEADER, Network, networks
from server.live.home import ADMIN_HEADER, ServerHome
from server.live.limits import Buckets, Limits
from server.live.registry import Registered, Registry
from shared_models.call_signature import DIGEST_HEADER, NUMBER_HEADER, SESSION_HEADER
from shared_models.errors import EnrolmentError, ServiceError

Headers = dict[str, bytes]
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_RELOAD_SECONDS = 1.0


class RefusedError(Exception):
    """A request that the gate turns away: status, kind for the counts, and one sentence."""

    def __init__(self, status: int, kind: str, reason: str, node: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason, self.node = status, kind, reason, node


class OtherSessionError(RefusedError):
    """A device's call that is signed for another session than this process's, which the answer names."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a call says of itself before its body is read."""

    method: str
    target: str
    """Path and query."""
    headers: Headers
    peer: str
    """The address that it came from."""

    @property
    def digest(self) -> str:
        """SHA-256 of the body, as signed."""
        return self.headers.get(DIGEST_HEADER, b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class GateOptions:
    """What the operator may choose about the gate."""

    limits: Limits = field(default_factory=Limits)
    metrics_on_loopback: bool = False
    """Give the metrics to this machine's processes without the token."""
    takeover_seconds: float = 8.0
    """A device that restarts is let in once its former process has been silent for so long."""
    proxies: tuple[Network, ...] = ()
    """Whose ``X-Forwarded-For`` counts."""


def gate_options(home: ServerHome) -> GateOptions:
    """The options in the home's ``gate.json``, or the defaults where there is none.

    Raises :class:`ServiceError` for one that cannot be read: a server that left it out would be open where its
    operator thinks it shut.
    """
    path, limits = home.path("gate.json"), Limits()
    if not path.exists():
        return GateOptions()
    try:
        chosen = dict(json.loads(path.read_text()))
        burst = float(chosen.pop("stranger_burst", limits.stranger.burst))
        head_seconds = float(chosen.pop("head_seconds", limits.head_seconds))
        on_loopback = bool(chosen.pop("metrics_on_loopback", False))
        takeover_seconds = float(chosen.pop("takeover_seconds", GateOptions().takeover_seconds))
    except (OSError, ValueError, TypeError) as error:
        raise ServiceError(
            f"{path} cannot be read ({error}): mend it, or remove it for the defaults"
        ) from None
    proxies = networks(chosen.pop("proxies", []))
    if chosen:
        raise ServiceError(f"{path} names {', '.join(sorted(chosen))}, which the gate does not know")
    stranger = replace(limits.stranger, burst=burst)
    return GateOptions(
        limits=replace(limits, stranger=stranger, head_seconds=head_seconds),
        metrics_on_loopback=on_loopback,
        takeover_seconds=takeover_seconds,
        proxies=proxies,
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
        self._numbers = SeenNumbers()
        self.session = secrets.token_hex(16)
        """A word of this process's own, which devices sign."""

    def registry_changed(self) -> None:
        """Read the registry anew at the next request, rather than within a second."""
        self._reloaded_at = -_RELOAD_SECONDS

    def limit_stranger(self, peer: str) -> None:
        """Count a request of a peer that is not known; raises :class:`RefusedError` if it is one too many."""
        if not self._strangers.take(peer):
            raise RefusedError(429, "too many requests", "too many requests from this address: slow down")

    def operator(self, headers: Headers, peer: str, path: str) -> None:
        """Raise :class:`RefusedError` for anybody but the operator."""
        given = headers.get(ADMIN_HEADER, b"")
        if hmac.compare_digest(given, self._token):
            return
        # What a proxy on this machine passes on comes from loopback too.
        nearby = peer in _LOOPBACK and HEADER.decode() not in headers
        if path == "/fedvoice/metrics" and self._options.metrics_on_loopback and nearby:
            return
        self.limit_stranger(peer)
        raise RefusedError(
            401,
            "not the operator",
            "only this server's operator may do this: the admin token is missing or wrong",
        )

    def device(self, call: Call) -> Registered:
        """The active device that makes this Fleet call; raises :class:`RefusedError` if it is none.

        Its body is still to be compared with :attr:`Call.digest`.
        """
        try:
            key = signatures.from_base64(
                call.headers.get(flower_state.NODE_KEY_HEADER, b"").decode("latin-1")
            )
        except EnrolmentError:
            key = b""
        device = self._device(key)
        if device is None:
            self.limit_stranger(call.peer)
            raise RefusedError(
                401, "unregistered key", "this key is not registered here: join with a join code"
            )
        node = str(device.node_id)
        if device.state != "active":
            self.limit_stranger(call.peer)
            raise RefusedError(
                403, f"{device.state} device", f"this device's key was withdrawn ({device.state})", node
            )
        problem = signatures.call_problem(_public_key(key), call.method, call.target, call.headers)
        if problem:
            self.limit_stranger(call.peer)
            raise RefusedError(401, "wrong signature", problem, node)
        if not self._devices.take(key):
            raise RefusedError(
                429, "too many requests", "too many requests from this device: slow down", node
            )
        self._is_new(key, call, node)
        return device

    def _is_new(self, key: bytes, call: Call, node: str) -> None:
        if call.headers.get(SESSION_HEADER, b"") != self.session.encode():
            reason = "this call was signed for another start of this server: sign it for this one"
            raise OtherSessionError(401, "another session", reason, node)
        if not self._numbers.take(key, int(call.headers[NUMBER_HEADER])):
            reason = "this very call came before: this is a replay, or the device's clock was set back"
            raise RefusedError(401, "replayed call", reason, node)

    def _device(self, key: bytes) -> Registered | None:
        now = time.monotonic()
        if now - self._reloaded_at >= _RELOAD_SECONDS:
            self._known = {device.public_key: device for device in self._registry.devices()}
            self._reloaded_at = now
        return self._known.get(key)


@lru_cache(maxsize=4096)
def _public_key(pem: bytes) -> EllipticCurvePublicKey:
    return signatures.public_key(pem)[0]
