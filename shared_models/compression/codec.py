"""What every kind of compression offers, and the few checks that all of them share."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared_models.errors import WireError

Vector: TypeAlias = NDArray[np.float32]
Payload: TypeAlias = bytes | bytearray | memoryview


class Form(Protocol):
    """What is known of a payload before it is seen.

    The number of bytes follows from the recipe and the size alone, never from what is sent: a receiver
    knows it beforehand, and it tells nothing about the voice.
    """

    @property
    def name(self) -> str:
        """Kind and settings; both sides of a message must agree on it."""

    @property
    def size(self) -> int:
        """Coordinates of the vector."""

    @property
    def length(self) -> int:
        """Bytes of the payload."""


class Codec(Form, Protocol):
    """Turns a float32 vector of one fixed size into bytes and back."""

    def encode(self, vector: Vector, rng: np.random.Generator | None) -> bytes:
        """The payload of a finite vector ``(size,)``; rounds at random with ``rng``, and to nearest without."""

    def decode(self, payload: Payload) -> Vector:
        """The vector ``(size,)`` of its own. Raises :class:`WireError` for what :meth:`encode` cannot give."""


def check_length(codec: Form, payload: Payload) -> memoryview:
    """The payload as bytes. Raises :class:`WireError` before anything is allocated for a wrong length."""
    view = memoryview(payload)
    if view.nbytes != codec.length:
        raise WireError(
            f"the payload has {view.nbytes} bytes where {codec.size} coordinates take {codec.length} as {codec.name}: "
            "it was truncated on its way, or compressed otherwise"
        )
    return view.cast("B")


def read_scales(view: memoryview, codec: Form) -> Vector:
    """Factors of a payload: float32, finite, none of them negative."""
    scales = np.frombuffer(view, dtype="<f4").astype(np.float32, copy=False)
    # Written so that NaN fails too.
    if not bool(np.all((scales >= 0) & (scales < np.inf))):
        raise WireError(f"a payload of {codec.name} has a scale that is negative, infinite or not a number")
    return scales
