"""Compression under a norm: the norm of what the receiver decodes never exceeds the limit.

Differential privacy limits what one person can do to the sum, and the sum is made of *decoded* vectors. Rounding
at random, factors and half precision all may raise the norm of a clipped vector, so the sender decodes what it is about
to send, and a leading factor of at most 1 brings it back to the limit. Whatever else compression does to a
vector within the limit, including how it draws at random, is free: the guarantee holds for any such vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared_models.clipping import l2_norm
from shared_models.compression.codec import Codec, Payload, Vector, check_length, read_scales
from shared_models.errors import DivergedError, WireError

_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Bounded:
    """A codec whose payload begins with a factor between 0 and 1."""

    inner: Codec

    @property
    def name(self) -> str:
        """What both sides must agree on."""
        return self.inner.name

    @property
    def size(self) -> int:
        """Coordinates of the vector."""
        return self.inner.size

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return _FACTOR + self.inner.length

    def compress(
        self, vector: Tensor, rng: np.random.Generator | None = None, limit: float | None = None
    ) -> tuple[bytes, Tensor]:
        """The payload of ``vector`` ``(size,)`` float32, and the vector that its receiver decodes.

        That one's norm is at most ``limit * (1 + 1e-6)`` if there is a limit. Rounds at random with ``rng``
        and to nearest without. Raises :class:`WireError` for numbers that are not finite.
        """
        array = _finite(vector, self.size)
        body = self.inner.encode(array, rng)
        decoded = self.inner.decode(body)
        factor = _factor(decoded, limit)
        if factor < 1:
            np.multiply(decoded, factor, out=decoded)
        return factor.astype("<f4").tobytes() + body, torch.from_numpy(decoded)

    def decompress(self, payload: Payload) -> Tensor:
        """The vector ``(size,)`` float32 of a payload. Raises :class:`WireError` for a malformed one.

        Its numbers may still be infinite or too large: that is for whoever adds them up to see.
        """
        view = check_length(self, payload)
        factor = read_scales(view[:_FACTOR], self)[0]
        if factor > 1:
            raise WireError(f"a payload of {self.name} has the factor {factor:.3g}, and none lengthens")
        decoded = self.inner.decode(view[_FACTOR:])
        if factor < 1:
            with np.errstate(invalid="ignore"):
                np.multiply(decoded, factor, out=decoded)
        return torch.from_numpy(decoded)


def _finite(vector: Tensor, size: int) -> Vector:
    if vector.dtype is not torch.float32 or vector.shape != (size,):
        raise WireError(
            f"the vector is {vector.dtype} of shape {tuple(vector.shape)} where float32 of ({size},) is compressed"
        )
    array: Vector = vector.detach().cpu().contiguous().numpy()
    # A sum of finite numbers may overflow; extremes cannot, and NaN comes through them.
    if array.size and not (np.isfinite(array.max()) and np.isfinite(array.min())):
        raise DivergedError(
            "the vector holds NaN or infinite numbers: training diverged, so lower the learning rate"
        )
    return array


def _factor(decoded: Vector, limit: float | None) -> np.float32:
    norm = l2_norm(torch.from_numpy(decoded)) if limit is not None else 0.0
    if limit is None or norm <= limit:
        return np.float32(1)
    factor = np.float32(limit / norm)
    return factor if float(factor) <= limit / norm else np.nextafter(factor, np.float32(0))
