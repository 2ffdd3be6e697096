"""FastSpeech's length regulator: each phoneme's vector, repeated for as many frames as it lasts."""

from __future__ import annotations

import torch
from torch import Tensor

from shared_models.accelerator import exact_dtype
from shared_models.layers.sequences import take_steps


def phoneme_of_frame(durations: Tensor, frames: Tensor) -> Tensor:
    """Which phoneme sounds in each of the given frames.

    ``durations (B, L)`` int64, 0 where padded; ``frames (B, W)`` int64. Returns ``(B, W)`` int64. A frame
    beyond the last phoneme's end gives the last row, L - 1: mask it by length.
    """
    ends = durations.cumsum(1)
    # The first phoneme that ends after the frame: skips phonemes that last no frame at all.
    found = torch.searchsorted(ends, frames.contiguous(), right=True)
    return found.clamp_max(durations.shape[1] - 1)


def regulate(sequence: Tensor, durations: Tensor, frames: Tensor) -> Tensor:
    """``(B, W, H)``: the vector of ``sequence (B, L, H)`` that sounds in each of ``frames (B, W)``.

    Asking for a window's frames alone is what makes windowed training cheap. With all frames 0..T-1 of one
    utterance this is ``repeat_interleave(sequence, durations)``, batched and without a loop.
    """
    return take_steps(sequence, phoneme_of_frame(durations, frames))


def phoneme_means(values: Tensor, weights: Tensor, durations: Tensor) -> Tensor:
    """Weighted mean of frame values over each phoneme's frames, by cumulative sums.

    ``values`` and ``weights (B, T)``, ``durations (B, L)`` int64 with sums at most T. Returns ``(B, L)``;
    0 for phonemes that last no frame, or whose weights are all 0.
    """
    ends = durations.cumsum(1)
    starts = ends - durations

    def summed(x: Tensor) -> Tensor:
        # In float64: differences of long float32 sums would lose the digits that matter.
        total = torch.nn.functional.pad(x.to(exact_dtype(x.device)).cumsum(1), (1, 0))
        return total.gather(1, ends) - total.gather(1, starts)

    weight = summed(weights)
    mean = summed(values * weights) / weight.clamp_min(1e-9)
    return torch.where(weight > 1e-9, mean, 0.0).to(values.dtype)
