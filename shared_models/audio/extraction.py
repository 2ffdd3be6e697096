"""One utterance's recording and text as the tensors that models see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shared_models.audio.alignment import (
    Phone,
    read_alignment,
    speech_bounds,
    symbols_and_durations,
)
from shared_models.audio.energy import log_energy
from shared_models.audio.level import MARGIN_SECONDS, find_speech, set_level, speech_span
from shared_models.audio.mel import SAMPLE_RATE, magnitude, mel_of_magnitude
from shared_models.audio.pitch import track_pitch
from shared_models.audio.reading import Wave, read_audio, resample
from shared_models.audio.signals import extractor
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, TextError
from shared_models.features import Features
from shared_models.text.phonemes import encode, phonemize
from shared_models.utterance import Utterance

SHORTEST_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Speech:
    """A recording as features are computed from it."""

    wave: Wave
    """``(samples,)`` at 22,050 Hz, trimmed and levelled."""
    first_sample: int
    """Where it starts in the resampled recording."""


def extract(utterance: Utterance, config: FeatureConfig) -> Features:
    """Compute an utterance's features: L phonemes, T frames in every other tensor.

    Raises :class:`AudioError` for a recording that cannot be used: unreadable, without speech, shorter
    than 0.3 s, without text, with fewer frames than phonemes, or at odds with its alignment.
    """
    phones = read_alignment(utterance.alignment) if utterance.alignment is not None else None
    try:
        speech = load_speech(utterance.audio, config, phones)
        return _features(utterance, speech, phones, config.signals)
    except (AudioError, TextError) as error:
        message = str(error)
        if str(utterance.audio) in message or str(utterance.alignment) in message:
            raise
        raise AudioError(f"{utterance.audio}: {message}") from error


def load_speech(path: Path, config: FeatureConfig, phones: list[Phone] | None = None) -> Speech:
    """Read a recording at 22,050 Hz, trimmed and levelled as ``config`` says.

    An alignment, where there is one, says where the speech is; otherwise its level does.
    """
    recorded, rate = read_audio(path)
    wave = resample(recorded, rate, SAMPLE_RATE)
    activity = find_speech(wave, SAMPLE_RATE)
    if config.level_dbfs is not None:
        wave = set_level(wave, activity, config.level_dbfs)
    start, end = 0, len(wave)
    if config.trim_silence:
        start, end = speech_span(activity, len(wave), SAMPLE_RATE)
        if phones is not None:
            start, end = _aligned_span(phones, len(wave))
    if end - start < SHORTEST_SECONDS * SAMPLE_RATE:
        raise AudioError(
            f"{path} holds {max(0, end - start) / SAMPLE_RATE:.2f} s of speech; "
            f"{SHORTEST_SECONDS} s are needed, so record it again or leave it out"
        )
    return Speech(wave[start:end], start)


def _aligned_span(phones: list[Phone], samples: int) -> tuple[int, int]:
    first, last = speech_bounds(phones)
    if last * SAMPLE_RATE > samples + MARGIN_SECONDS * SAMPLE_RATE:
        raise AudioError(
            f"an alignment reaches {last:.2f} s into a recording of {samples / SAMPLE_RATE:.2f} s; "
            "align it again"
        )
    start = max(0, round((first - MARGIN_SECONDS) * SAMPLE_RATE))
    return start, min(samples, round((last + MARGIN_SECONDS) * SAMPLE_RATE))


def _features(
    utterance: Utterance, speech: Speech, phones: list[Phone] | None, signals: Sequence[str]
) -> Features:
    wave = torch.from_numpy(speech.wave)
    spectrum = magnitude(wave)
    frames = len(spectrum)
    durations: Tensor | None = None
    if phones is not None:
        symbols, durations = symbols_and_durations(phones, speech.first_sample, frames)
    else:
        symbols = _symbols_of_text(utterance)
    if frames < len(symbols):
        raise AudioError(
            f"{len(symbols)} phonemes in {frames} frames of audio cannot be aligned; check that the text "
            "belongs to the recording"
        )
    pitch = track_pitch(wave)
    return Features(
        utterance_id=utterance.utterance_id,
        phonemes=encode(symbols),
        mel=mel_of_magnitude(spectrum),
        log_f0=pitch.log_f0,
        voiced=pitch.voiced,
        energy=log_energy(spectrum),
        durations=durations,
        signals={name: extractor(name)(wave) for name in signals},
    )


def _symbols_of_text(utterance: Utterance) -> list[str]:
    if not utterance.text.strip():
        raise AudioError("there is no transcript; add one or leave the recording out")
    return phonemize(utterance.text, utterance.language)
