"""To speak as another model speaks: what a smaller model is taught by the one that it was cut from.

The teacher speaks freely, with durations, pitch and energy of its own, as it does when it is used: what is learnt
is what is used, and has no noise that cannot be predicted (sequence-level distillation, Kim & Rush 2016, arXiv
1606.07947, as FastSpeech has its targets from a teacher, arXiv 1905.09263, section 3.3). Of a recording nothing is
imitated; its text is spoken, and its speaker heard. The output of each block is held to the teacher's block's
(FitNets, Romero 2015, arXiv 1412.6550), which a model that has the teacher's blocks, or some, can do one by one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from shared_models.accelerator import on_host
from shared_models.acoustic.fastspeech2 import AcousticModel
from shared_models.acoustic.harmonic_source import PredictedContours
from shared_models.acoustic.variance_adaptor import Variances
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.export.depth import kept_blocks, kept_sites
from shared_models.features import Batch
from shared_models.layers.sequences import Excerpt, valid_steps
from shared_models.losses import contour_loss
from shared_models.partition import weights_hash
from shared_models.speakers.voice import Voice

VARIANCE_WEIGHT = 0.5
"""Of the squared errors of log-duration, pitch and energy, beside the mel's absolute error."""
BLOCK_WEIGHT = 1.0
"""Of the blocks' squared errors, relative to the teacher's power, on average."""
KNOWN_VOICES = 0.5
"""How often a known voice speaks, where there are any, and not the speaker of the reference."""


@dataclass(frozen=True, slots=True)
class Speech:
    """How a model spoke a batch: L phonemes, of whose T frames W were decoded."""

    variances: Variances
    """Predicted, ``(B, L)``."""
    durations: Tensor
    """``(B, L)`` int64 frames, as used."""
    excerpt: Excerpt
    """The frames decoded."""
    mel: Tensor
    """``(B, W, n_mels)``."""
    phoneme_mask: Tensor
    """``(B, L)`` bool."""
    frame_mask: Tensor
    """``(B, W)`` bool."""
    encoder: list[Tensor]
    """The output of each block, ``(B, L, H)``."""
    decoder: list[Tensor]
    """The same, ``(B, W, H)``."""
    contours: PredictedContours | None = None
    """Of the frames decoded, where the model has a source."""


def speak_freely(
    model: AcousticModel,
    batch: Batch,
    voice: Voice,
    window: int | None,
    rng: torch.Generator,
) -> Speech:
    """The texts of ``batch`` with the model's own durations; a random run of ``window`` frames is decoded."""
    mask = valid_steps(batch.phoneme_lengths, batch.phonemes.shape[1])
    with _outputs(model.encoder) as encoder, _outputs(model.decoder) as decoder:
        encoded = model.encode(batch.phonemes, mask, voice)
        enriched, predicted = model.variance_adaptor(encoded, mask, voice)
        durations = model.spoken_frames(batch.phonemes, mask, predicted.log_duration)
        total = durations.sum(1)
        excerpt = Excerpt.drawn(total, int(on_host(total).max()), window, rng)
        said = model.decode(enriched, durations, excerpt, voice)
    return Speech(predicted, durations, excerpt, said.mel, mask, said.mask, encoder, decoder, said.contours)


def speak_along(model: AcousticModel, batch: Batch, voice: Voice, led: Speech) -> Speech:
    """The same texts and frames, with the durations, pitch and energy of ``led``."""
    mask = led.phoneme_mask
    with _outputs(model.encoder) as encoder, _outputs(model.decoder) as decoder:
        encoded = model.encode(batch.phonemes, mask, voice)
        enriched, predicted = model.variance_adaptor(
            encoded, mask, voice, led.variances.pitch, led.variances.energy
        )
        contours = None if led.contours is None else led.contours.decided()
        said = model.decode(enriched, led.durations, led.excerpt, voice, contours)
    return Speech(
        predicted, led.durations, led.excerpt, said.mel, mask, said.mask, encoder, decoder, said.contours
    )


def imitation_loss(mine: Speech, theirs: Speech) -> Tensor:
    """How far ``mine`` is from ``theirs``: mel, variances, and the outputs of the blocks."""
    mel = _mean((mine.mel - theirs.mel).abs(), theirs.frame_mask)
    variances = sum(
        _mean((getattr(mine.variances, name) - getattr(theirs.variances, name)).square(), theirs.phoneme_mask)
        for name in ("log_duration", "pitch", "energy")
    )
    if mine.contours is not None and theirs.contours is not None:
        mel = (
            mel
            + VARIANCE_WEIGHT
            * contour_loss(mine.contours, theirs.contours.decided(), theirs.frame_mask).mean()
        )
    blocks = [
        *(_relative(a, b, theirs.phoneme_mask) for a, b in zip(mine.encoder, theirs.encoder, strict=True)),
        *(_relative(a, b, theirs.frame_mask) for a, b in zip(mine.decoder, theirs.decoder, strict=True)),
    ]
    return mel + VARIANCE_WEIGHT * variances + BLOCK_WEIGHT * sum(blocks) / len(blocks)


def voices_hash(voices: Sequence[Voice]) -> str:
    """By which a training tells whether it had the same voices."""
    joined = Voice.joined(voices)
    return weights_hash(torch.cat([joined[name].flatten() for name in sorted(joined)]))


class Imitation:
    """The lesson of a model that was cut (see :data:`simulations.deployment.teaching.Lesson`)."""

    def __init__(
        self,
        teacher: VoiceModel,
        student: VoiceModel,
        window: int | None,
        voices: Sequence[Voice] = (),
    ) -> None:
        """``student`` is ``teacher`` with narrower layers, or fewer (:func:`shared_models.export.depth.cut`), and hears
        a speaker as it does; of ``voices``, which the teacher knows beside its references, each has one row."""
        self._teacher, self._student = teacher.eval(), student.eval()
        self._window, self._voices = window, voices
        before, after = teacher.dimensions, student.dimensions
        self._encoder = kept_blocks(before.encoder_layers, after.encoder_layers)
        self._decoder = kept_blocks(before.decoder_layers, after.decoder_layers)
        self._sites = kept_sites(before, after)

    def __call__(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """The student's loss on the texts of ``batch``, in voices that ``rng`` draws."""
        with torch.no_grad():
            voices = self._drawn_voices(batch, rng)
            shown = speak_freely(self._teacher.acoustic, batch, voices, self._window, rng)
        theirs = replace(
            shown,
            encoder=[shown.encoder[block] for block in self._encoder],
            decoder=[shown.decoder[block] for block in self._decoder],
        )
        mine = speak_along(
            self._student.acoustic, batch, voices.at_sites(self._sites, self._teacher.takes), theirs
        )
        return imitation_loss(mine, theirs)

    def _drawn_voices(self, batch: Batch, rng: torch.Generator) -> Voice:
        heard = self._teacher.voice(batch.heard)
        if not self._voices:
            return heard
        known = torch.rand(len(heard), generator=rng) < KNOWN_VOICES
        chosen = len(heard) + torch.randint(len(self._voices), (len(heard),), generator=rng)
        everybody = Voice.joined([heard, *self._voices])
        return everybody.rows(torch.where(known, chosen, torch.arange(len(heard))))


@contextlib.contextmanager
def _outputs(blocks: torch.nn.ModuleList) -> Iterator[list[Tensor]]:
    """What each block gives while this is open, in the order in which they run."""
    given: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _module, _inputs, out: given.append(out)) for block in blocks]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def _mean(errors: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``errors (B, N)`` or ``(B, N, C)`` over the steps of ``mask (B, N)``."""
    shaped = mask if errors.dim() == 2 else mask[..., None].expand_as(errors)
    return (errors * shaped).sum() / shaped.sum()


def _relative(mine: Tensor, theirs: Tensor, mask: Tensor) -> Tensor:
    """Squared error by power; 0 is equal, 1 is as far off as silence."""
    return _mean((mine - theirs).square(), mask) / _mean(theirs.square(), mask)
