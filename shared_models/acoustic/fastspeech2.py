"""FastSpeech 2 (arXiv 2006.04558) with a voice at three places.

Phonemes -> encoder -> speaker -> variance adaptor -> length regulator -> decoder -> mel (-> PostNet).
The speaker comes in as a :class:`Voice`. A :class:`Conditioning` says how it acts on the encoder's output and on which
norms; its prosody acts on the variance predictors; an adaptation may have it change any layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from shared_models.accelerator import is_padded, on_host
from shared_models.acoustic.aligner import AlignmentOutput
from shared_models.acoustic.dimensions import Dimensions
from shared_models.acoustic.harmonic_source import (
    Contours,
    HarmonicSource,
    PredictedContours,
    recorded_contours,
    with_phoneme_columns,
)
from shared_models.acoustic.length_regulator import phoneme_means, phoneme_of_frame, regulate
from shared_models.acoustic.postnet import PostNet
from shared_models.acoustic.variance_adaptor import (
    LOG_RANGE,
    NORMS,
    Enriched,
    VarianceAdaptor,
    Variances,
    predicted_frames,
)
from shared_models.audio.normalisation import (
    ENERGY_SPREAD,
    SEMITONE,
    normalise_energy,
    normalise_pitch,
    restore_mel,
)
from shared_models.features import Batch
from shared_models.layers.positions import TABLED, SinusoidalPositions
from shared_models.layers.sequences import Excerpt, valid_steps
from shared_models.layers.transformer import FFTBlock, zero_padding
from shared_models.layers.voiced import apply_layer
from shared_models.partition import Owner
from shared_models.speakers.conditioning.conditioning import Conditioning
from shared_models.speakers.voice import Voice, VoiceTensor

MOST_FRAMES = 172
"""Longest predicted phoneme or pause: 2 s."""
UNVOICED_WEIGHT = 1e-3
"""Weight of an unvoiced frame in a phoneme's pitch: counts only where no frame is voiced."""


@dataclass(frozen=True, slots=True)
class AcousticOutput:
    """What teacher forcing gives, beside what it should have given. W frames decoded, of T."""

    mel: Tensor
    """``(B, W, n_mels)`` natural log, after the PostNet if there is one."""
    mel_before_postnet: Tensor | None
    """``(B, W, n_mels)``, or None without a PostNet."""
    mel_target: Tensor
    """``(B, W, n_mels)``: the same frames of the recording."""
    frame_mask: Tensor
    """``(B, W)`` bool."""
    starts: Tensor
    """``(B,)`` int64: first decoded frame of each utterance, 0 without a window."""
    predicted: Variances
    """Per phoneme ``(B, L)``: log(d + 1), and normalised pitch and energy."""
    target: Variances
    """The same from the recording."""
    phoneme_mask: Tensor
    """``(B, L)`` bool."""
    durations: Tensor
    """``(B, L)`` int64 frames, as used."""
    alignment: AlignmentOutput | None
    """Where the durations come from, if the aligner found them."""
    predicted_contours: PredictedContours | None = None
    """Of the decoded frames ``(B, W)``, if the model has a source."""
    contours: Contours | None = None
    """The same from the recording."""
    mean_durations: bool = False
    """Whether the predicted durations are to be means (``model.durations``)."""
    penalty: Tensor | None = None
    """``(B,)``: what the sources of the speaker embedding add to the loss, if any does."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """W frames as the decoder says them."""

    mel_before_postnet: Tensor
    """``(B, W, n_mels)``."""
    mel: Tensor
    """``(B, W, n_mels)``."""
    mask: Tensor
    """``(B, W)`` bool."""
    contours: PredictedContours | None
    """``(B, W)``, if the model has a source."""


@dataclass(frozen=True, slots=True)
class Said:
    """W frames of what is said of each of B texts."""

    mel: Tensor
    """``(B, W, n_mels)`` natural log."""
    mask: Tensor
    """``(B, W)`` bool."""
    places: Tensor
    """``(B, W)`` int64: which phoneme of its text sounds in a frame."""


class AcousticModel(nn.Module):
    """Phonemes and a speaker to a mel spectrogram. ``takes`` declares the tensors of the voices that it speaks in."""

    belongs_to = Owner.SHARED

    def __init__(self, dimensions: Dimensions, conditioning: Conditioning) -> None:
        super().__init__()
        d = dimensions
        self.dimensions = d
        prosody = VoiceTensor("prosody", (d.prosody,), made_by="voice")
        self.takes: tuple[VoiceTensor, ...] = (*conditioning.takes(), prosody)
        self.embedding = nn.Embedding(d.vocabulary, d.hidden, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=d.hidden**-0.5)
        self.positions = SinusoidalPositions(d.hidden)
        self.encoder = _blocks(d, "encoder", d.encoder_layers, conditioning)
        self.speaker = conditioning.encoder_site()
        norms = [conditioning.norm("variance", number) for number in range(NORMS)]
        self.variance_adaptor = VarianceAdaptor(d.hidden, d.dropout, norms)
        self.decoder = _blocks(d, "decoder", d.decoder_layers, conditioning)
        self.final_norm = conditioning.norm("decoder", 2 * d.decoder_layers)
        self.mel = nn.Linear(d.hidden, d.n_mels)
        self.postnet = PostNet(d.n_mels, d.postnet, d.dropout) if d.postnet else None
        # Last, so that models without a source begin with the weights that they always began with.
        self.source = HarmonicSource(d.hidden, d.dropout) if d.harmonics else None

    def forward(
        self,
        batch: Batch,
        durations: Tensor,
        voice: Voice,
        *,
        alignment: AlignmentOutput | None = None,
        window: int | None = None,
        generator: torch.Generator | None = None,
    ) -> AcousticOutput:
        """Teacher forcing with ``durations (B, L)``; decodes a random run of ``window`` frames at most.

        ``generator`` draws the runs' starts: B numbers, and none without a window.
        """
        target = target_variances(batch, durations)
        phoneme_mask = valid_steps(batch.phoneme_lengths, batch.phonemes.shape[1])
        encoded = self.encode(batch.phonemes, phoneme_mask, voice)
        enriched, predicted = self.variance_adaptor(encoded, phoneme_mask, voice, target.pitch, target.energy)
        excerpt = Excerpt.drawn(batch.mel_lengths, batch.mel.shape[1], window, generator)
        contours = recorded_contours(batch, excerpt) if self.source is not None else None
        decoded = self.decode(enriched, durations, excerpt, voice, contours)
        return AcousticOutput(
            mel=decoded.mel,
            mel_before_postnet=decoded.mel_before_postnet if self.postnet is not None else None,
            mel_target=excerpt.of(batch.mel),
            frame_mask=decoded.mask,
            starts=excerpt.starts,
            predicted=predicted,
            target=target,
            phoneme_mask=phoneme_mask,
            durations=durations,
            alignment=alignment,
            predicted_contours=decoded.contours,
            contours=contours,
            mean_durations=self.dimensions.mean_durations,
        )

    def encode(self, phonemes: Tensor, mask: Tensor, voice: Voice) -> Tensor:
        """``phonemes (B, L)`` int64, ``mask (B, L)`` bool; to ``(B, L, H)``, with the speaker in it."""
        padded = is_padded(mask)
        steps = torch.arange(phonemes.shape[1], device=phonemes.device)[None]
        positions = self.positions(steps, phonemes.shape[1])
        x = apply_layer(self.embedding, phonemes, voice) * math.sqrt(self.dimensions.hidden) + positions
        x = zero_padding(x, mask, padded)
        for block in self.encoder:
            x = block(x, mask, voice, padded=padded)
        return zero_padding(self.speaker(x, voice), mask, padded)

    def decode(
        self,
        enriched: Enriched,
        durations: Tensor,
        excerpt: Excerpt,
        voice: Voice,
        contours: Contours | None = None,
    ) -> Decoded:
        """Mel of the frames of ``excerpt``, of which W are decoded.

        ``durations (B, L)`` int64. A model with a source is told ``contours`` (teacher forcing), or what it predicts
        itself without them.
        """
        mask, frames = excerpt.mask(), excerpt.steps()
        padded, positions = is_padded(mask), self.positions(frames, excerpt.end)
        predicted = drawn = None
        if self.source is None:
            x = regulate(enriched.sequence, durations, frames) + positions
        else:
            rows = regulate(with_phoneme_columns(enriched, durations), durations, frames)
            predicted = self.source.contours(rows, frames, mask, voice["prosody"][:, LOG_RANGE], voice)
            told = contours or predicted.decided()
            drawn = self.source.draw(told)
            x = rows[..., : self.dimensions.hidden] + positions + self.source.enter(told, drawn, voice)
        x = zero_padding(x, mask, padded)
        for block in self.decoder:
            x = block(x, mask, voice, padded=padded)
        last = apply_layer(self.final_norm, x, voice)
        normalised = apply_layer(self.mel, last, voice)
        if self.source is not None and drawn is not None:
            normalised = normalised + self.source.leave(last, drawn, voice)
        mel = restore_mel(normalised)
        if self.postnet is None:
            return Decoded(mel, mel, mask, predicted)
        return Decoded(mel, restore_mel(self.postnet(normalised, mask, voice)), mask, predicted)

    def synthesize(
        self,
        phonemes: Tensor,
        lengths: Tensor,
        voice: Voice,
        *,
        duration_scale: float = 1.0,
        pitch_shift: float = 0.0,
        energy_scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """``phonemes (B, L)`` int64, ``lengths (B,)`` to natural-log mel ``(B, T, n_mels)`` and its lengths.

        ``duration_scale`` 2 speaks half as fast, ``pitch_shift`` is in semitones, ``energy_scale`` multiplies
        the magnitude. Mel beyond an utterance's length is 0 and means nothing. Call it in ``eval()`` mode.
        """
        enriched, durations = self._planned(
            phonemes, lengths, voice, duration_scale, pitch_shift=pitch_shift, energy_scale=energy_scale
        )
        frame_lengths = durations.sum(1)
        # The one thing that speaking waits for: how long it will be.
        longest = int(on_host(frame_lengths).max())
        decoded = self.decode(enriched, durations, Excerpt.whole(frame_lengths, longest), voice)
        return zero_padding(decoded.mel, decoded.mask), frame_lengths

    def excerpts(
        self, phonemes: Tensor, lengths: Tensor, voice: Voice, window: int, generator: torch.Generator | None
    ) -> Said:
        """A random run of ``window`` frames of what :meth:`synthesize` says, for training: it waits for nothing.

        ``generator`` draws B numbers. Only the first :data:`TABLED` frames of a text are spoken of.
        """
        enriched, durations = self._planned(phonemes, lengths, voice)
        excerpt = Excerpt.drawn(durations.sum(1).clamp_max(TABLED), TABLED, window, generator)
        decoded = self.decode(enriched, durations, excerpt, voice)
        return Said(decoded.mel, decoded.mask, phoneme_of_frame(durations, excerpt.steps()))

    def _planned(
        self,
        phonemes: Tensor,
        lengths: Tensor,
        voice: Voice,
        duration_scale: float = 1.0,
        *,
        pitch_shift: float = 0.0,
        energy_scale: float = 1.0,
    ) -> tuple[Enriched, Tensor]:
        """What the decoder is told of a text, and the frames ``(B, L)`` int64 that its phonemes are spoken for."""
        mask = valid_steps(lengths, phonemes.shape[1])
        encoded = self.encode(phonemes, mask, voice)
        enriched, predicted = self.variance_adaptor(
            encoded,
            mask,
            voice,
            pitch_shift=pitch_shift * SEMITONE,
            energy_shift=math.log(energy_scale) / ENERGY_SPREAD,
            pitch_spread=self.dimensions.pitch_spread,
        )
        return enriched, self.spoken_frames(phonemes, mask, predicted.log_duration, duration_scale)

    def spoken_frames(
        self, phonemes: Tensor, mask: Tensor, log_duration: Tensor, scale: float = 1.0
    ) -> Tensor:
        """Frames ``(B, L)`` int64 that phonemes are spoken for, from their predicted ``log(d + 1)``."""
        silences = torch.tensor(self.dimensions.silences, device=phonemes.device)
        least = (mask & ~torch.isin(phonemes, silences)).long()
        return predicted_frames(
            log_duration,
            least,
            scale,
            MOST_FRAMES,
            carry=self.dimensions.mean_durations,
            spread=self.dimensions.duration_spread,
        )


def _blocks(
    d: Dimensions, place: Literal["encoder", "decoder"], count: int, conditioning: Conditioning
) -> nn.ModuleList:
    blocks = nn.ModuleList()
    for number in range(count):
        norms = (conditioning.norm(place, 2 * number), conditioning.norm(place, 2 * number + 1))
        blocks.append(FFTBlock(d.hidden, d.heads, d.filter, d.kernel, d.dropout, norms))
    return blocks


def target_variances(batch: Batch, durations: Tensor) -> Variances:
    """What the recordings say of each phoneme ``(B, L)``: log(d + 1), mean normalised pitch and energy."""
    heard = valid_steps(batch.mel_lengths, batch.mel.shape[1]).float()
    voicing = heard * batch.voiced.float().clamp_min(UNVOICED_WEIGHT)
    return Variances(
        log_duration=torch.log1p(durations.float()),
        pitch=phoneme_means(normalise_pitch(batch.log_f0), voicing, durations),
        energy=phoneme_means(normalise_energy(batch.energy), heard, durations),
    )
