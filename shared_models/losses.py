"""What the acoustic model is trained on: FastSpeech 2's losses, utterance by utterance.

Every mean is taken within an utterance first and over the batch afterwards, so that each utterance weighs
the same, one utterance's loss never depends on another's, and its gradient is its own, as DP-SGD needs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor

from shared_models.acoustic.aligner import AlignmentOutput
from shared_models.acoustic.fastspeech2 import AcousticOutput
from shared_models.config import AlignerConfig
from shared_models.features import Batch
from shared_models.layers.sequences import masked_mean

DEFAULT_WEIGHTS = AlignerConfig.model_validate({})


@dataclass(frozen=True, slots=True)
class Losses:
    """Each a scalar, or ``(B,)`` if asked for per utterance. ``total`` is what to minimise."""

    total: Tensor
    mel: Tensor
    """L1 in natural-log mel; the sum of before and after the PostNet where there is one."""
    duration: Tensor
    """Squared error of log(d + 1)."""
    pitch: Tensor
    """Squared error in normalised units."""
    energy: Tensor
    """Squared error in normalised units."""
    forward_sum: Tensor | None = None
    """The aligner's, unweighted; None if it did not run."""
    binarization: Tensor | None = None

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
) -> Losses:
    """L1 mel + squared errors of log-duration, pitch and energy (+ the aligner's losses, if it ran).

    ``weights`` are those of the aligner's losses. With ``per_utterance`` every field is ``(B,)``. Raises
    ValueError if ``output`` is not of ``batch``.
    """
    if output.phoneme_mask.shape != batch.phonemes.shape:
        raise ValueError(
            f"an output for phonemes of {tuple(output.phoneme_mask.shape)} was judged against a batch of "
            f"{tuple(batch.phonemes.shape)}"
        )
    mel = _mel_loss(output.mel, output)
    if output.mel_before_postnet is not None:
        mel = mel + _mel_loss(output.mel_before_postnet, output)
    # A phoneme without frames was not heard: it has a duration, but no pitch or energy.
    heard = output.phoneme_mask & (output.durations > 0)
    predicted, target = output.predicted, output.target
    duration = masked_mean((predicted.log_duration - target.log_duration).square(), output.phoneme_mask)
    pitch = masked_mean((predicted.pitch - target.pitch).square(), heard)
    energy = masked_mean((predicted.energy - target.energy).square(), heard)
    total = mel + duration + pitch + energy
    if output.alignment is None:
        return _reduced(Losses(total, mel, duration, pitch, energy), per_utterance)
    total = total + alignment_loss(output.alignment, per_utterance=True, weights=weights)
    forward_sum, binarization = output.alignment.forward_sum, output.alignment.binarization
    return _reduced(Losses(total, mel, duration, pitch, energy, forward_sum, binarization), per_utterance)


def alignment_loss(
    alignment: AlignmentOutput, per_utterance: bool = False, *, weights: AlignerConfig = DEFAULT_WEIGHTS
) -> Tensor:
    """The aligner's weighted losses alone: a scalar, or ``(B,)`` per utterance."""
    loss = weights.forward_sum_weight * alignment.forward_sum
    loss = loss + weights.binarization_weight * alignment.binarization
    return loss if per_utterance else loss.mean()


def _mel_loss(mel: Tensor, output: AcousticOutput) -> Tensor:
    return masked_mean((mel - output.mel_target).abs().mean(2), output.frame_mask)


def _reduced(losses: Losses, per_utterance: bool) -> Losses:
    if per_utterance:
        return losses
    forward_sum, binarization = losses.forward_sum, losses.binarization
    return Losses(
        total=losses.total.mean(),
        mel=losses.mel.mean(),
        duration=losses.duration.mean(),
        pitch=losses.pitch.mean(),
        energy=losses.energy.mean(),
        forward_sum=None if forward_sum is None else forward_sum.mean(),
        binarization=None if binarization is None else binarization.mean(),
    )
