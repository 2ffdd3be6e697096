"""Float32 as it is: what sparse values and low-rank factors are kept in where they are not compressed further."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared_models.compression.codec import Payload, Vector, check_length


@dataclass(frozen=True, slots=True)
class Float32:
    """Four bytes a coordinate, without loss."""

    size: int

    @property
    def name(self) -> str:
        """What both sides must agree on."""
        return "float32"

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return 4 * self.size

    def encode(self, vector: Vector, rng: np.random.Generator | None) -> bytes:  # noqa: ARG002
        """The coordinates, little-endian."""
        return vector.astype("<f4", copy=False).tobytes()

    def decode(self, payload: Payload) -> Vector:
        """The coordinates; not looked at."""
        return np.frombuffer(check_length(self, payload), dtype="<f4").astype(np.float32)
