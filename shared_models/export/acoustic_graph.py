"""The acoustic model as one graph of tensors, which an exporter can trace: phonemes in, mel out.

:meth:`AcousticModel.synthesize` branches on what its tensors hold (is anything padded, is the table of
positions long enough) and calls operations that ONNX lacks. Here every branch is gone and the length of the
mel is the only number that is read from a tensor; all layers are the model's own, so nothing is computed
differently.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from shared_models.acoustic.fastspeech2 import MOST_FRAMES, AcousticModel
from shared_models.acoustic.harmonic_source import with_phoneme_columns
from shared_models.acoustic.variance_adaptor import LOG_RANGE, Enriched, predicted_frames
from shared_models.audio.normalisation import SEMITONE, restore_mel
from shared_models.layers.sequences import valid_steps
from shared_models.layers.transformer import zero_padding
from shared_models.layers.voiced import apply_layer
from shared_models.partition import Owner
from shared_models.speakers.voice import Voice

OUTPUTS = ("mel", "mel_lengths")


class AcousticGraph(nn.Module):
    """``model.synthesize`` without a branch. Shares the model's tensors, and is in ``eval()`` mode."""

    belongs_to = Owner.SHARED
    sounding: Tensor
    frequencies: Tensor

    def __init__(self, model: AcousticModel) -> None:
        super().__init__()
        self.model = model.eval()
        dimensions = model.dimensions
        sounding = torch.ones(dimensions.vocabulary, dtype=torch.int64)
        sounding[list(dimensions.silences)] = 0
        self.register_buffer("sounding", sounding, persistent=False)
        steps = torch.arange(0, dimensions.hidden, 2, dtype=torch.float64)
        frequencies = torch.exp(steps * (-math.log(10_000.0) / dimensions.hidden))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.eval()

    def forward(
        self,
        phonemes: Tensor,
        lengths: Tensor,
        tensors: dict[str, Tensor],
        duration_scale: Tensor,
        pitch_shift: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``phonemes (B, L)`` int64, ``lengths (B,)`` int64 of 1 or more and the ``tensors`` of B voices, as the model
        ``takes`` them; to natural-log mel ``(B, T, n_mels)``, 0 beyond its ``mel_lengths (B,)`` int64.

        ``duration_scale`` and ``pitch_shift`` (semitones) are scalars ``()`` float32.
        """
        voice = Voice(tensors)
        model = self.model
        mask = valid_steps(lengths, phonemes.shape[1])
        steps = torch.arange(phonemes.shape[1])[None]
        x = apply_layer(model.embedding, phonemes, voice) * math.sqrt(
            model.dimensions.hidden
        ) + self._positions(steps)
        x = zero_padding(x, mask)
        for block in model.encoder:
            x = block(x, mask, voice)
        x = zero_padding(model.speaker(x, voice), mask)
        enriched, log_duration = self._enrich(x, mask, voice, pitch_shift)
        durations = self._frames(phonemes, mask, log_duration, duration_scale)
        mel_lengths = durations.sum(1)
        longest = cast(int, mel_lengths.max().item())
        # The exporter would stop to ask whether this is 1, where shapes broadcast. The graph does not care.
        torch._check(longest >= 2)  # type: ignore[no-untyped-call]
        frame_mask = valid_steps(mel_lengths, longest)
        frames = torch.arange(longest)[None]
        x, drawn = self._frame_inputs(enriched, durations, frames, frame_mask, voice)
        return self._decode(x, drawn, frame_mask, voice), mel_lengths

    def _positions(self, positions: Tensor) -> Tensor:
        """``positions (1, N)`` int64 to ``(1, N, H)``: the same numbers as the table's, computed, so that a
        graph carries no table and has no longest sequence."""
        angles = positions[..., None].double() * self.frequencies
        # cos(x) = sin(x + pi / 2), because runtimes have a double-precision sine alone.
        both = torch.stack([angles, angles + math.pi / 2], dim=-1).sin()
        return both.flatten(2)[..., : self.model.dimensions.hidden].float()

    def _enrich(self, x: Tensor, mask: Tensor, voice: Voice, pitch_shift: Tensor) -> tuple[Enriched, Tensor]:
        enriched, predicted = self.model.variance_adaptor(
            x,
            mask,
            voice,
            pitch_shift=pitch_shift * SEMITONE,
            pitch_spread=self.model.dimensions.pitch_spread,
        )
        return enriched, predicted.log_duration

    def _frames(self, phonemes: Tensor, mask: Tensor, log_duration: Tensor, scale: Tensor) -> Tensor:
        """:meth:`AcousticModel.spoken_frames`, with a table instead of a search: ``(B, L)`` int64."""
        d = self.model.dimensions
        return predicted_frames(
            log_duration,
            self.sounding[phonemes] * mask,
            scale,
            MOST_FRAMES,
            carry=d.mean_durations,
            spread=d.duration_spread,
        )

    def _frame_inputs(
        self, enriched: Enriched, durations: Tensor, frames: Tensor, mask: Tensor, voice: Voice
    ) -> tuple[Tensor, Tensor | None]:
        """The decoder's input ``(B, T, H)``, and the harmonics ``(B, T, n_mels)`` of a model with a source."""
        source, positions = self.model.source, self._positions(frames)
        if source is None:
            return zero_padding(_regulate(enriched.sequence, durations, frames) + positions, mask), None
        rows = _regulate(with_phoneme_columns(enriched, durations), durations, frames)
        contours = source.contours(rows, frames, mask, voice["prosody"][:, LOG_RANGE], voice).decided()
        drawn = source.draw(contours)
        vectors = rows[..., : self.model.dimensions.hidden]
        return zero_padding(vectors + positions + source.enter(contours, drawn, voice), mask), drawn

    def _decode(self, x: Tensor, drawn: Tensor | None, mask: Tensor, voice: Voice) -> Tensor:
        model = self.model
        for block in model.decoder:
            x = block(x, mask, voice)
        last = apply_layer(model.final_norm, x, voice)
        normalised = apply_layer(model.mel, last, voice)
        if model.source is not None and drawn is not None:
            normalised = normalised + model.source.leave(last, drawn, voice)
        if model.postnet is not None:
            normalised = model.postnet(normalised, mask, voice)
        return zero_padding(restore_mel(normalised), mask)


def _regulate(sequence: Tensor, durations: Tensor, frames: Tensor) -> Tensor:
    """:func:`shared_models.acoustic.length_regulator.regulate` by comparison, since ONNX has no search."""
    ends = durations.cumsum(1)
    ended = (ends[:, None, :] <= frames[:, :, None]).sum(-1)
    rows = ended.clamp_max(durations.shape[1] - 1)
    return sequence.gather(1, rows[:, :, None].expand(-1, -1, sequence.shape[2]))
