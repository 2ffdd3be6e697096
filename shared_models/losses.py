"""What the acoustic model is trained on: FastSpeech 2's losses, utterance by utterance.

Every mean is taken within an utterance first and over the batch afterwards, so that each utterance weighs
the same, one utterance's loss never depends on another's, and its gradient is its own, as DP-SGD needs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from shared_models.acoustic.aligner import AlignmentOutput
from shared_models.acoustic.fastspeech2 import AcousticOutput
from shared_models.acoustic.harmonic_source import Contours, PredictedContours
from shared_models.config import AlignerConfig
from shared_models.features import Batch
from shared_models.layers.sequences import masked_mean
from shared_models.loss_config import MelError

DEFAULT_WEIGHTS = AlignerConfig.model_validate({})


@dataclass(frozen=True, slots=True)
class Losses:
    """Each a scalar, or ``(B,)`` if asked for per utterance. ``total`` is what to minimise."""

    total: Tensor
    mel: Tensor
    """Error in natural-log mel, L1 by default; the sum of before and after the PostNet where there is one."""
    duration: Tensor
    """Squared error of log(d + 1), or the gamma deviance of d + 1."""
    pitch: Tensor
    """Squared error in normalised units."""
    energy: Tensor
    """Squared error in normalised units."""
    forward_sum: Tensor | None = None
    """The aligner's, unweighted; None if it did not run."""
    binarization: Tensor | None = None
    contours: Tensor | None = None
    """:func:`contour_loss`; None for a model without a source."""
    penalty: Tensor | None = None
    """What the sources of the speaker embedding add; None if none does."""

    def mean(self) -> Losses:
        """Each as a scalar: the mean over the batch."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        means: dict[str, Any] = {name: None if v is None else v.mean() for name, v in found.items()}
        return Losses(**means)

    def items(self) -> dict[str, float]:
        """The means as plain numbers by name, for reports."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: float(value.detach().mean()) for name, value in found.items() if value is not None}


def acoustic_loss(
    output: AcousticOutput,
    batch: Batch,
    per_utterance: bool = False,
    *,
    weights: AlignerConfig = DEFAULT_WEIGHTS,
    error: MelError = "l1",
) -> Losses:
    """Mel + errors of duration, pitch and energy (+ the contours', with a source, + the aligner's, if it ran).

    And the penalty of the sources of the speaker embedding, if there is one.
    ``weights`` are those of the aligner's losses; ``error`` is that of the mel. With ``per_utterance`` every field is
    ``(B,)``. Raises ValueError if ``output`` is not of ``batch``.
    """
    if output.phoneme_mask.shape != batch.phonemes.shape:
        raise ValueError(
            f"an output for phonemes of {tuple(output.phoneme_mask.shape)} was judged against a batch of "
            f"{tuple(batch.phonemes.shape)}"
        )
    mel = _mel_loss(output.mel, output, error)
    if output.mel_before_postnet is not None:
        mel = mel + _mel_loss(output.mel_before_postnet, output, error)
    # A phoneme without frames was not heard: it has a duration, but no pitch or energy.
    heard = output.phoneme_mask & (output.durations > 0)
    predicted, target = output.predicted, output.target
    difference = target.log_duration - predicted.log_duration
    apart = gamma_deviance(difference) if output.mean_durations else difference.square()
    duration = masked_mean(apart, output.phoneme_mask)
    pitch = masked_mean((predicted.pitch - target.pitch).square(), heard)
    energy = masked_mean((predicted.energy - target.energy).square(), heard)
    total = mel + duration + pitch + energy
    contours = forward_sum = binarization = None
    if output.predicted_contours is not None and output.contours is not None:
        contours = contour_loss(output.predicted_contours, output.contours, output.frame_mask)
        total = total + contours
    if output.alignment is not None:
        total = total + alignment_loss(output.alignment, per_utterance=True, weights=weights)
        forward_sum, binarization = output.alignment.forward_sum, output.alignment.binarization
    if output.penalty is not None:
        total = total + output.penalty
    found = Losses(total, mel, duration, pitch, energy, forward_sum, binarization, contours, output.penalty)
    return found if per_utterance else found.mean()


def gamma_deviance(log_ratio: Tensor) -> Tensor:
    """The unit deviance of a gamma distribution, ``2 (r - log r - 1)`` of ``r``, actual over predicted mean.

    Least where the prediction is the mean of what is met, and as a squared error of the logs near it.
    """
    return 2 * (log_ratio.exp() - log_ratio - 1)


def contour_loss(predicted: PredictedContours, actual: Contours, mask: Tensor) -> Tensor:
    """``(B,)``: absolute errors of pitch, where voiced, and energy, and the cross-entropy of voicing.

    Over the frames of ``mask (B, W)`` bool.
    """
    pitch = masked_mean((predicted.pitch - actual.pitch).abs(), mask & (actual.voiced > 0))
    energy = masked_mean((predicted.energy - actual.energy).abs(), mask)
    voicing = F.binary_cross_entropy_with_logits(predicted.voicing, actual.voiced, reduction="none")
    return pitch + energy + masked_mean(voicing, mask)


def alignment_loss(
    alignment: AlignmentOutput, per_utterance: bool = False, *, weights: AlignerConfig = DEFAULT_WEIGHTS
) -> Tensor:
    """The aligner's weighted losses alone: a scalar, or ``(B,)`` per utterance."""
    loss = weights.forward_sum_weight * alignment.forward_sum
    loss = loss + weights.binarization_weight * alignment.binarization
    return loss if per_utterance else loss.mean()


def _mel_loss(mel: Tensor, output: AcousticOutput, error: MelError) -> Tensor:
    difference = mel - output.mel_target
    match error:
        case "l1":
            apart = difference.abs()
        case "l2":
            apart = difference.square()
        case "l1+l2":
            apart = difference.abs() + difference.square()
    return masked_mean(apart.mean(2), output.frame_mask)
