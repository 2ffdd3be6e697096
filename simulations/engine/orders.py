"""What the server's process, the nursery and the workers say; large arrays are only pointed at."""

from __future__ import annotations

from dataclasses import dataclass, field

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told once, before its first task."""

    client_app: str
    """Where to import the ClientApp from: ``module:attribute``."""
    run_id: int
    clients: int
    threads: int
    """Torch threads."""
    device: str = "cpu"
    """Where clients train."""
    memory_share: float = 1.0
    """The share of a GPU's memory that a worker may use."""
    node_config: dict[str, Scalar] = field(default_factory=dict)
    run_config: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a buffer lies in its block (bytes)."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class OpenBlock:
    """A block's file descriptor follows on the socket; ``closed`` are those not used any more."""

    number: int
    size: int
    writable: bool
    closed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One message for one client."""

    number: int
    member: int
    node_id: int
    message: bytes
    """Skeleton."""
    block: int | None
    places: tuple[Place, ...]
    state: bytes | None
    """The client's state within the run, from its last task."""
    slot: int
    """Block for the reply's arrays."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The ClientApp was imported."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The ClientApp could not be imported."""

    reason: str


@dataclass(frozen=True, slots=True)
class Bear:
    """To the nursery: fork a worker; its socket, its lifeline and where it prints follow."""

    settings: Settings
    environment: dict[str, str]
    """All of it."""
    folder: str
    """Where relative paths start."""


@dataclass(frozen=True, slots=True)
class Born:
    """The worker was forked."""

    process: int


@dataclass(frozen=True, slots=True)
class Reap:
    """To the nursery: wait for a worker's end, and kill it if it takes longer than ``patience`` seconds."""

    process: int
    patience: float


@dataclass(frozen=True, slots=True)
class Reaped:
    """How the worker ended."""

    code: int


@dataclass(frozen=True, slots=True)
class Done:
    """A client's reply."""

    number: int
    reply: bytes
    places: tuple[Place, ...]
    slot_size: int
    """The worker grows a slot that is too small."""
    state: bytes | None
    """None if the client left its state as it was."""
