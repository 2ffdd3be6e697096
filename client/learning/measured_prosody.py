"""A person's rate, register, range and loudness, measured in their recordings instead of learnt.

Four numbers of a voice shift and scale what everybody's predictors say. Given the recordings' durations, pitch and
energy, the best four are known in closed form: those with which the predictors' totals, means and spreads are the
recordings'. Predictors heard only in training's voices are biased for a newcomer; this takes the bias away. Pitch's
spread is that of frames where a source predicts contours, which are flatter than people's, and else that of phonemes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared_models.acoustic.fastspeech2 import target_variances
from shared_models.acoustic.length_regulator import phoneme_means
from shared_models.acoustic.variance_adaptor import Variances
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.audio.normalisation import normalise_pitch
from shared_models.features import Features, collate
from shared_models.layers.sequences import Excerpt, valid_steps
from shared_models.speakers.voice import Voice

WIDEST = 0.9
"""A range changes by a factor of 2.5 at most, lest a few recordings, or octave errors in them, decide it."""
LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is compared, each ``(B, L)``."""

    durations: Tensor
    predicted: Variances
    actual: Variances
    mask: Tensor
    voiced: Tensor
    """Voiced frames of each phoneme."""


@torch.no_grad()
def with_measured_prosody(model: VoiceModel, voice: Voice, support: Sequence[Features]) -> Voice:
    """``voice`` (of one speaker) with the prosody of ``support``; as it is where nothing tells its durations."""
    if model.aligner is None and any(features.durations is None for features in support):
        return voice
    model.eval()
    heard = _compare(model, voice, support)
    register, log_range, loudness, rate = voice["prosody"][0].unbind()
    spreads = _spreads_of_phonemes(heard, model.dimensions.pitch_spread)
    if model.acoustic.source is not None:
        spreads = _spreads_of_frames(model, voice, support, heard.durations)
    change = _log_range_change(*spreads)
    measured = torch.stack(
        [
            _register(heard, register, change),
            log_range + change,
            loudness + _mean_gap(heard.predicted.energy, heard.actual.energy, heard.durations * heard.mask),
            rate + _rate_change(heard),
        ]
    )
    return Voice({**voice.tensors, "prosody": measured[None]})


def _compare(model: VoiceModel, voice: Voice, support: Sequence[Features]) -> _Heard:
    batch = collate(support, None).to(model.acoustic.mel.weight.device)
    durations, _ = model.durations(batch)
    mask = valid_steps(batch.phoneme_lengths, batch.phonemes.shape[1])
    actual = target_variances(batch, durations)
    many = voice.expand(len(support))
    encoded = model.acoustic.encode(batch.phonemes, mask, many)
    _, predicted = model.acoustic.variance_adaptor(encoded, mask, many, actual.pitch, actual.energy)
    frames = valid_steps(batch.mel_lengths, batch.mel.shape[1]).float()
    voiced = phoneme_means(batch.voiced.float(), frames, durations) * durations
    return _Heard(durations, predicted, actual, mask, voiced)


def _rate_change(heard: _Heard) -> Tensor:
    """What makes the total of the predicted durations, ``exp(log_duration) - 1``, the actual total."""
    predicted = (heard.predicted.log_duration.exp() * heard.mask).sum()
    return ((heard.durations * heard.mask).sum() + heard.mask.sum()).log() - predicted.log()


def _spreads_of_phonemes(heard: _Heard, spoken_spread: float) -> tuple[Tensor, Tensor]:
    """Actual and predicted, which is spoken at ``spoken_spread``."""
    return _spread(heard.actual.pitch, heard.voiced), spoken_spread * _spread(
        heard.predicted.pitch, heard.voiced
    )


def _spreads_of_frames(
    model: VoiceModel, voice: Voice, support: Sequence[Features], durations: Tensor
) -> tuple[Tensor, Tensor]:
    """Actual and predicted, over the frames that are voiced, the texts spoken freely at the actual ``durations``."""
    acoustic = model.acoustic
    batch, many = collate(support, None).to(durations.device), voice.expand(len(support))
    mask = valid_steps(batch.phoneme_lengths, batch.phonemes.shape[1])
    encoded = acoustic.encode(batch.phonemes, mask, many)
    enriched, _ = acoustic.variance_adaptor(
        encoded, mask, many, pitch_spread=acoustic.dimensions.pitch_spread
    )
    whole = Excerpt.whole(batch.mel_lengths, batch.mel.shape[1])
    contours = acoustic.decode(enriched, durations, whole, many).contours
    assert contours is not None  # the model has a source
    voiced = batch.voiced * valid_steps(batch.mel_lengths, batch.mel.shape[1])
    said = contours.decided()
    return (
        _spread(normalise_pitch(batch.log_f0), voiced.float()),
        _spread(said.pitch, said.voiced * whole.mask()),
    )


def _log_range_change(actual: Tensor, predicted: Tensor) -> Tensor:
    """What makes pitch within an utterance vary as much as it does."""
    change = (actual.clamp_min(LEAST) / predicted.clamp_min(LEAST)).log()
    return change.clamp(-WIDEST, WIDEST)


def _register(heard: _Heard, register: Tensor, change: Tensor) -> Tensor:
    """The shift with which the mean is right after the range has changed."""
    weight = heard.voiced.sum().clamp_min(LEAST)
    predicted = (heard.predicted.pitch * heard.voiced).sum() / weight
    actual = (heard.actual.pitch * heard.voiced).sum() / weight
    return actual - change.exp() * (predicted - register)


def _spread(values: Tensor, weights: Tensor) -> Tensor:
    """Standard deviation ``()`` of ``values (B, L)`` about their utterance's mean, by ``weights (B, L)``."""
    each = weights.sum(1, keepdim=True).clamp_min(LEAST)
    deviation = values - (values * weights).sum(1, keepdim=True) / each
    return ((deviation.square() * weights).sum() / weights.sum().clamp_min(LEAST)).sqrt()


def _mean_gap(predicted: Tensor, actual: Tensor, weights: Tensor) -> Tensor:
    return ((actual - predicted) * weights).sum() / weights.sum().clamp_min(1)
