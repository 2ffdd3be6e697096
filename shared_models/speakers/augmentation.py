"""References changed at random in training: SpecAugment's masks and warping, noise, other pitch and other speed.

Masks blank with the mean, and warping moves one point in time (SpecAugment, Park 2019, arXiv 1904.08779, section 2).
Everything acts on spectra, and one draw on all signals of a reference alike. A shift in pitch moves formants too, as a
shorter vocal tract does. What speaks is not changed: none of this reaches the mel that a model learns to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from shared_models.audio.mel import F_MAX
from shared_models.audio.sixteen_kilohertz import FLOOR
from shared_models.augmentation_config import AugmentationConfig
from shared_models.errors import RecipeError
from shared_models.speakers.content import PHONEMES
from shared_models.speakers.heard import MEL, Reference

Scale = Literal["slaney", "htk"]
_SCALES: dict[str, Scale] = {
    MEL: "slaney", "power_mel": "slaney", "filterbanks_40": "htk", "filterbanks_80": "htk",
}  # fmt: skip
_DECIBEL = math.log(10) / 20
"""Of a power, in natural-log magnitude."""
_NOISE_RANGE = 20.0
"""Noise is between the loudest and so many decibels less."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One draw. Places in time are shares of the length, places in frequency shares of the bands."""

    speed: float = 1.0
    warp: tuple[float, float] = (0.5, 0.5)
    """The point that moves, and where it moves to."""
    semitones: float = 0.0
    snr: float | None = None
    """Decibels."""
    time_masks: tuple[tuple[float, float], ...] = ()
    """Where each begins and ends."""
    band_masks: tuple[tuple[float, float], ...] = ()
    seed: int = 0
    """Of the noise."""

    @classmethod
    def drawn(cls, settings: AugmentationConfig, frames: int, rng: torch.Generator) -> Perturbation:
        """The draw for a reference of ``frames`` frames of the mel."""

        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=rng))

        def stretch(widest: float) -> tuple[float, float]:
            width = uniform(0.0, min(1.0, widest))
            start = uniform(0.0, 1.0 - width)
            return start, start + width

        speed = uniform(1 - settings.speed, 1 + settings.speed)
        point = uniform(settings.warp, 1 - settings.warp)
        moved = point + uniform(-settings.warp, settings.warp)
        semitones = uniform(-settings.pitch, settings.pitch)
        quiet = uniform(0.0, _NOISE_RANGE)
        longest = settings.time_mask_frames / max(1, frames)
        return cls(
            speed,
            (point, moved) if settings.warp else (0.5, 0.5),
            semitones,
            None if settings.noise_snr is None else settings.noise_snr + quiet,
            tuple(stretch(longest) for _ in range(settings.time_masks)),
            tuple(stretch(settings.band_mask_share) for _ in range(settings.band_masks)),
            int(torch.randint(2**31, (), generator=rng)),
        )

    def of(self, reference: Reference) -> Reference:
        """The reference with every signal changed. Raises :class:`RecipeError` for a signal that is no spectrum."""
        return Reference({name: self.of_signal(name, signal) for name, signal in reference.signals.items()})

    def of_signal(self, name: str, signal: Tensor) -> Tensor:
        """``signal (N, C)`` of that name, to ``(N', C)``."""
        if name == PHONEMES:
            return signal[self._places(len(signal), signal.device).round().long()]
        if name not in _SCALES:
            raise RecipeError(
                f"augmentation changes spectra, and references are heard as '{name}' too: set augmentation.share to 0"
            )
        if not len(signal):
            return signal
        magnitude = _between(_log_magnitude(name, signal), self._places(len(signal), signal.device))
        magnitude = self._masked(self._noised(self._shifted(name, magnitude)))
        return _as_signal(name, magnitude)

    def _places(self, steps: int, device: torch.device) -> Tensor:
        """Where each step of the outcome is heard in a signal of ``steps`` steps, ``(N',)`` from 0 to steps - 1."""
        count = max(1, round(steps / self.speed)) if steps else 0
        at = torch.linspace(0, 1, count, device=device)
        point, moved = self.warp
        before = at * (point / moved)
        after = 1 - (1 - at) * ((1 - point) / (1 - moved))
        return torch.where(at < moved, before, after).clamp(0, 1) * max(0, steps - 1)

    def _shifted(self, name: str, magnitude: Tensor) -> Tensor:
        bands = magnitude.shape[1]
        if not self.semitones:
            return magnitude
        centres = torch.arange(1, bands + 1, dtype=torch.float64) / (bands + 1)
        heard = _hertz(_SCALES[name], centres) * 2 ** (-self.semitones / 12)
        places = _share_of_scale(_SCALES[name], heard) * (bands + 1) - 1
        return _between(magnitude.T, places.clamp(0, bands - 1).to(magnitude)).T

    def _noised(self, magnitude: Tensor) -> Tensor:
        """Noise that is as loud in each band, a random magnitude a step."""
        if self.snr is None:
            return magnitude
        power = (2 * magnitude).exp()
        rng = torch.Generator().manual_seed(self.seed)
        # The power of white noise in a band is exponentially distributed.
        noise = -torch.rand(power.shape, generator=rng).clamp_min(1e-6).log().to(power)
        return 0.5 * (power + power.mean() * 10 ** (-self.snr / 10) * noise).log()

    def _masked(self, magnitude: Tensor) -> Tensor:
        steps, bands = magnitude.shape
        blank = torch.zeros(steps, bands, dtype=torch.bool, device=magnitude.device)
        for start, end in self.time_masks:
            blank[round(start * steps) : round(end * steps)] = True
        for start, end in self.band_masks:
            blank[:, round(start * bands) : round(end * bands)] = True
        return torch.where(blank, magnitude.mean(), magnitude)


def perturbed(reference: Reference, settings: AugmentationConfig, rng: torch.Generator) -> Reference:
    """A reference as training hears it: itself, or with probability ``share`` changed. Draws nothing if that is 0."""
    if not settings.share or not reference.frames or torch.rand((), generator=rng) >= settings.share:
        return reference
    return Perturbation.drawn(settings, reference.frames, rng).of(reference)


def _between(rows: Tensor, places: Tensor) -> Tensor:
    """``rows (N, C)`` at ``places (N',)`` from 0 to N - 1, linearly between two."""
    first = places.floor().long()
    second = (first + 1).clamp_max(len(rows) - 1)
    return rows[first] + (places - first).to(rows)[:, None] * (rows[second] - rows[first])


def _log_magnitude(name: str, signal: Tensor) -> Tensor:
    match name:
        case "power_mel":
            return 0.5 * signal.clamp_min(FLOOR).log()
        case "filterbanks_40" | "filterbanks_80":
            return signal * _DECIBEL
    return signal


def _as_signal(name: str, magnitude: Tensor) -> Tensor:
    match name:
        case "power_mel":
            return (2 * magnitude).exp()
        case "filterbanks_40" | "filterbanks_80":
            return magnitude / _DECIBEL
    return magnitude


_LINEAR_TO, _LINEAR_STEP, _LOG_STEP = 1000.0, 200.0 / 3, math.log(6.4) / 27
"""Slaney's scale: linear up to 1 kHz, 66.7 Hz a mel, then logarithmic."""


def _mels(scale: Scale, hertz: Tensor) -> Tensor:
    if scale == "htk":
        return 2595.0 * torch.log10(1 + hertz / 700.0)
    above = _LINEAR_TO / _LINEAR_STEP + torch.log(hertz.clamp_min(1e-3) / _LINEAR_TO) / _LOG_STEP
    return torch.where(hertz < _LINEAR_TO, hertz / _LINEAR_STEP, above)


def _share_of_scale(scale: Scale, hertz: Tensor) -> Tensor:
    """Where ``hertz`` lies between 0 and 8 kHz on a scale, from 0 to 1."""
    return _mels(scale, hertz) / _mels(scale, torch.tensor(F_MAX, dtype=hertz.dtype))


def _hertz(scale: Scale, share: Tensor) -> Tensor:
    """The inverse of :func:`_share_of_scale`."""
    mels = share * _mels(scale, torch.tensor(F_MAX, dtype=share.dtype))
    if scale == "htk":
        return 700.0 * (10 ** (mels / 2595.0) - 1)
    knee = _LINEAR_TO / _LINEAR_STEP
    return torch.where(mels < knee, mels * _LINEAR_STEP, _LINEAR_TO * torch.exp((mels - knee) * _LOG_STEP))
