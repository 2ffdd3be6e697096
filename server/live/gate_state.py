"""What every part of the gate works with: one of each for a SuperLink's process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from server.live.admission import Admission, GateOptions
from server.live.asgi import App, Scope
from server.live.forwarded import peer_of
from server.live.home import ServerHome, Settings
from server.live.metrics import Traffic
from server.live.model_desk import ModelDesk
from server.live.refusals import Refusals
from server.live.registry import Registry


@dataclass(frozen=True, slots=True)
class GateState:
    """Home, registry and counts, which the gate's parts share."""

    app: App
    """Flower's own application, which serves what is let through."""
    home: ServerHome
    options: GateOptions
    settings: Settings
    registry: Registry
    refusals: Refusals
    admission: Admission
    desk: ModelDesk
    traffic: Traffic = field(default_factory=Traffic)
    heard: dict[bytes, float] = field(default_factory=dict)
    """When each device's key last asked for something, in Unix time."""
    started_at: float = field(default_factory=time.time)

    @classmethod
    def of(cls, app: App, home: ServerHome, options: GateOptions) -> GateState:
        """The state of a process that starts on this home."""
        registry = Registry(home.registry)
        return cls(
            app=app,
            home=home,
            options=options,
            settings=home.settings(),
            registry=registry,
            refusals=Refusals(home.path("refusals.jsonl")),
            admission=Admission(home, registry, options),
            desk=ModelDesk(home),
        )

    def peer(self, scope: Scope) -> str:
        """The address that a request comes from."""
        connected = (scope.get("client") or ("unknown", 0))[0]
        return peer_of(connected, scope["headers"], self.options.proxies)
