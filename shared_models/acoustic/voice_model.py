"""The whole voice model: the acoustic model, the sources of its speaker condition, and the voices.

This is what is partitioned. It owns no tensor itself: each part says whom its own belong to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared_models.acoustic.aligner import Aligner, AlignmentOutput
from shared_models.acoustic.dimensions import Dimensions
from shared_models.acoustic.fastspeech2 import AcousticModel, AcousticOutput
from shared_models.config import AlignerConfig, SpeakerConfig
from shared_models.errors import RecipeError
from shared_models.features import Batch
from shared_models.layers.conditional_layer_norm import CLNMaps
from shared_models.layers.sequences import Excerpt
from shared_models.partition import Owner, PartitionedModel
from shared_models.speakers.condition import SpeakerCondition
from shared_models.speakers.mel_style import MelStyleEncoder
from shared_models.speakers.voices import Voices


class VoiceModel(nn.Module):
    """FastSpeech 2 that speaks as ``voices`` different speakers, and as anyone with a reference recording."""

    def __init__(
        self, dimensions: Dimensions, speaker: SpeakerConfig, aligner: AlignerConfig, voices: int = 1
    ) -> None:
        super().__init__()
        d = dimensions
        self.dimensions = d
        self.always_align = aligner.learn == "always"
        vectors = speaker.personal == "vectors"
        self.acoustic = AcousticModel(d)
        self.cln_maps = CLNMaps(d.embedding, d.hidden, d.sites, Owner.SHARED if vectors else Owner.PERSONAL)
        self.mel_style = (
            MelStyleEncoder(d.n_mels, d.embedding, channels=d.style_channels, dropout=d.dropout)
            if "mel_style" in speaker.sources
            else None
        )
        self.aligner = Aligner(d.vocabulary, d.n_mels, d.hidden) if aligner.learn != "never" else None
        self.voices = Voices(
            voices,
            embedding=d.embedding if "table" in speaker.sources else 0,
            sites=d.sites if vectors else 0,
            hidden=d.hidden,
            prosody=d.prosody,
        )

    def forward(
        self, batch: Batch, *, window: int | None = None, generator: torch.Generator | None = None
    ) -> AcousticOutput:
        """Teacher forcing on ``batch``; :func:`shared_models.losses.acoustic_loss` judges the result.

        Durations are an utterance's own, or the aligner's where it brings none (or always, if the recipe says
        so). ``window``: of each utterance, and of each reference, only a random run of at most so many frames
        is used; ``generator`` draws where they start. Raises :class:`RecipeError` if nothing gives durations.
        """
        durations, alignment = self.durations(batch)
        condition = self.condition(batch, window=window, generator=generator)
        output: AcousticOutput = self.acoustic(
            batch, durations, condition, alignment=alignment, window=window, generator=generator
        )
        return output

    def durations(self, batch: Batch) -> tuple[Tensor, AlignmentOutput | None]:
        """The durations ``(B, L)`` int64 that ``batch`` is trained with, and the aligner's output if it ran.

        An utterance that brings its own durations is not aligned: its aligner's losses are 0. Raises
        :class:`RecipeError` if nothing gives an utterance durations.
        """
        if batch.durations is None or self.always_align:
            alignment = self.align(batch)
            return alignment.durations, alignment
        if all(batch.aligned):
            return batch.durations, None
        aligned = torch.tensor(batch.aligned, device=batch.durations.device)
        alignment = self.align(batch).only(~aligned)
        return torch.where(aligned[:, None], batch.durations, alignment.durations), alignment

    def align(self, batch: Batch) -> AlignmentOutput:
        """The aligner alone: its alignment and losses, without encoder or decoder (warm-up rounds)."""
        if self.aligner is None:
            raise RecipeError(
                "these recordings come without alignments and the recipe has aligner.learn = 'never': "
                "set it to 'auto', or bring alignments"
            )
        alignment: AlignmentOutput = self.aligner(batch)
        return alignment

    def condition(
        self, batch: Batch, *, window: int | None = None, generator: torch.Generator | None = None
    ) -> SpeakerCondition:
        """The condition of each utterance's speaker, from its voice and its reference recording."""
        reference, lengths = batch.reference, batch.reference_lengths
        if window is not None and self.mel_style is not None:
            excerpt = Excerpt.drawn(lengths, reference.shape[1], window, generator)
            reference, lengths = excerpt.of(reference), excerpt.lengths
        return self.condition_of(batch.speakers, reference, lengths)

    def condition_of(
        self, rows: Tensor, reference: Tensor | None = None, reference_lengths: Tensor | None = None
    ) -> SpeakerCondition:
        """The condition of the voices ``rows (B,)`` int64, with reference mels ``(B, R, n_mels)``.

        References are needed if ``mel_style`` is among the recipe's sources, and ignored otherwise; without
        them, or without lengths for them, raises :class:`RecipeError`.
        """
        d = self.dimensions
        own, scale_offset, shift_offset, prosody = self.voices(rows)
        embedding = prosody.new_zeros(len(rows), d.embedding) if own is None else own
        if self.mel_style is not None:
            if reference is None or reference_lengths is None:
                raise RecipeError(
                    "this model hears a speaker in a reference recording (speaker.sources has 'mel_style'): "
                    "give one, with its length"
                )
            embedding = embedding + self._style(reference, reference_lengths)
        scale, shift = self.cln_maps(embedding)
        if scale_offset is not None and shift_offset is not None:
            scale, shift = scale + scale_offset, shift + shift_offset
        return SpeakerCondition(embedding, scale, shift, prosody)

    def _style(self, reference: Tensor, lengths: Tensor) -> Tensor:
        """What the reference says, and 0 for an empty one: the voice of nobody."""
        assert self.mel_style is not None
        if reference.shape[1] == 0:
            return reference.new_zeros(len(reference), self.dimensions.embedding)
        style: Tensor = self.mel_style(reference, lengths.clamp_min(1))
        return style * (lengths > 0)[:, None]

    def synthesize(
        self,
        phonemes: Tensor,
        lengths: Tensor,
        condition: SpeakerCondition,
        *,
        duration_scale: float = 1.0,
        pitch_shift: float = 0.0,
        energy_scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Speak ``phonemes (B, L)``: mel ``(B, T, n_mels)`` and lengths ``(B,)``; see :class:`AcousticModel`.

        A condition of one row speaks all of them.
        """
        return self.acoustic.synthesize(
            phonemes,
            lengths,
            condition.expand(len(phonemes)),
            duration_scale=duration_scale,
            pitch_shift=pitch_shift,
            energy_scale=energy_scale,
        )


VoicePartition = PartitionedModel[VoiceModel]
"""A voice model, partitioned."""
