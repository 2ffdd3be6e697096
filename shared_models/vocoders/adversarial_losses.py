"""What vocoders are trained on: adversarial losses and the distances that hold them on course.

Sources: least squares and feature matching, J. Kong et al., "HiFi-GAN" (2020, arXiv 2010.05646); hinge,
K. Kumar et al., "MelGAN" (2019, arXiv 1910.06711); multi-resolution STFT, R. Yamamoto et al., "Parallel
WaveGAN" (2020, arXiv 1910.11480).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from shared_models.audio.mel import F_MIN, FLOOR, N_FFT, N_MELS, SAMPLE_RATE, magnitude
from shared_models.vocoders.discriminators.judgement import Judgement

Adversarial = Literal["lsgan", "hinge"]

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""FFT size and hop in samples of the multi-resolution STFT loss."""
_SMALLEST = 1e-5


def discriminator_loss(real: Judgement, generated: Judgement, kind: Adversarial) -> Tensor:
    """What a family of discriminators minimises: scores of real speech up, of generated down. A sum."""
    losses = []
    for of_real, of_generated in zip(real.scores, generated.scores, strict=True):
        if kind == "lsgan":
            losses.append((1 - of_real).square().mean() + of_generated.square().mean())
        else:
            losses.append(F.relu(1 - of_real).mean() + F.relu(1 + of_generated).mean())
    return torch.stack(losses).sum()


def generator_loss(generated: Judgement, kind: Adversarial) -> Tensor:
    """What the generator minimises to be taken for real. A sum over the family."""
    if kind == "lsgan":
        return torch.stack([(1 - score).square().mean() for score in generated.scores]).sum()
    # Without the discriminators' margin: the hinge is theirs alone.
    return torch.stack([-score.mean() for score in generated.scores]).sum()


def feature_matching_loss(real: Judgement, generated: Judgement) -> Tensor:
    """L1 between the layers that real and generated speech excite; no gradient goes into the real ones."""
    distances = [
        F.l1_loss(mine, theirs.detach())
        for ours, others in zip(generated.features, real.features, strict=True)
        for mine, theirs in zip(ours, others, strict=True)
    ]
    return torch.stack(distances).sum()


@lru_cache(maxsize=1)
def _full_band_basis() -> Tensor:
    basis: Tensor = melscale_fbanks(
        N_FFT // 2 + 1, F_MIN, SAMPLE_RATE / 2, N_MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return basis


def full_band_log_mel(wave: Tensor) -> Tensor:
    """Natural-log mel ``(..., T, N_MELS)`` from 0 to 11,025 Hz of ``wave (..., T * HOP)``.

    The models' mel ends at 8,000 Hz; what lies above, only this one judges.
    """
    return (magnitude(wave) @ _full_band_basis().to(wave)).clamp(min=FLOOR).log()


def mel_loss(generated: Tensor, real: Tensor) -> Tensor:
    """L1 between the full-band log-mels of two waves ``(B, T * HOP)``."""
    return F.l1_loss(full_band_log_mel(generated), full_band_log_mel(real).detach())


def multi_resolution_stft_loss(
    generated: Tensor, real: Tensor, resolutions: Sequence[tuple[int, int]] = RESOLUTIONS
) -> Tensor:
    """Spectral convergence plus L1 of log magnitudes between waves ``(B, samples)``, mean over resolutions.

    Raises :class:`ValueError` for waves shorter than half of the largest FFT.
    """
    if generated.shape[-1] <= max(size for size, _ in resolutions) // 2:
        raise ValueError(f"{generated.shape[-1]} samples are too few for the resolutions {resolutions}")
    losses = []
    for size, hop in resolutions:
        ours, theirs = _magnitude(generated, size, hop), _magnitude(real, size, hop).detach()
        convergence = (theirs - ours).norm() / theirs.norm().clamp(min=_SMALLEST)
        losses.append(convergence + F.l1_loss(ours.log(), theirs.log()))
    return torch.stack(losses).mean()


def _magnitude(wave: Tensor, size: int, hop: int) -> Tensor:
    window = torch.hann_window(size, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(wave, size, hop, window=window, return_complex=True)
    # Floored before the root, whose slope at 0 is infinite.
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=_SMALLEST**2).sqrt()
