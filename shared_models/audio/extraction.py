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
from shared_models.audio.decoding import decode
from shared_models.audio.energy import log_energy
from shared_models.audio.level import MARGIN_SECONDS, find_speech, set_level, speech_span
from shared_models.audio.mel import HOP, SAMPLE_RATE, magnitude, mel_of_magnitude
from shared_models.audio.pitch import track_pitch
from shared_models.audio.reading import Recording, Wave, one_channel, resample
from shared_models.audio.signals import extractor
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, FedVoiceError
from shared_models.features import Features
from shared_models.text.phonemes import encode, phonemize
from shared_models.text.unspoken import left_out, unspoken
from shared_models.utterance import Utterance

SHORTEST_SECONDS = 0.3
LONGEST_SECONDS = 600.0
"""An utterance is a sentence; a longer file is a talk that nobody cut, and would fill the memory."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A recording as features are computed from it."""

    wave: Wave
    """``(samples,)`` at 22,050 Hz, trimmed and levelled."""
    first_sample: int
    """Where it starts in the resampled recording."""
    notes: tuple[tuple[str, str], ...] = ()
    """What was mended in the recording: in a word, and in words."""


@dataclass(frozen=True, slots=True)
class Usable:
    """What an utterance's features follow from; whoever has it can compute them."""

    speech: Speech
    symbols: list[str]
    """L of them."""
    durations: Tensor | None
    """``(L,)`` int64 frames, where there is an alignment."""

    def notes(self, utterance: Utterance) -> list[tuple[str, str]]:
        """What its owner should know of it, though it is used: in a word, and in words."""
        # An alignment says what was spoken, whatever the text says.
        missing = unspoken(utterance.text, utterance.language) if self.durations is None else ()
        return [*self.speech.notes, *([("not said", left_out(missing))] if missing else [])]


def extract(utterance: Utterance, config: FeatureConfig) -> Features:
    """Compute an utterance's features: L phonemes, T frames in every other tensor.

    Raises :class:`AudioError` as :func:`require_usable` does.
    """
    return features_of(utterance, require_usable(utterance, config), config.signals)


def require_usable(utterance: Utterance, config: FeatureConfig, recording: Recording | None = None) -> Usable:
    """The speech and the phonemes of an utterance; whether it can be used is decided here and nowhere else.

    ``recording`` is what was read of it, if it was. Raises :class:`AudioError` for a recording that cannot be used:
    unreadable, without speech, shorter than 0.3 s, longer than 600 s, without text, with fewer frames than phonemes, or
    at odds with its alignment.
    """
    try:
        phones = read_alignment(utterance.alignment) if utterance.alignment is not None else None
        speech = load_speech(utterance.audio, config, phones, recording)
        return _usable(utterance, speech, phones)
    except FedVoiceError as error:
        message = str(error)
        named = str(utterance.audio) in message or str(utterance.alignment) in message
        if named and isinstance(error, AudioError):
            raise
        kind = error.kind if isinstance(error, AudioError) else "no text"
        raise AudioError(message if named else f"{utterance.audio}: {message}", kind=kind) from error
    # One bad file ends nothing, whatever its reader comes to.
    except Exception as error:
        raise AudioError(
            f"{utterance.audio} cannot be used ({type(error).__name__}: {error}); replace it or leave it out"
        ) from error


def load_speech(
    path: Path,
    config: FeatureConfig,
    phones: list[Phone] | None = None,
    recording: Recording | None = None,
) -> Speech:
    """Read a recording at 22,050 Hz, trimmed and levelled as ``config`` says.

    An alignment, where there is one, says where the speech is; otherwise its level does. Raises :class:`AudioError`.
    """
    found = recording or one_channel(decode(path, LONGEST_SECONDS), path)
    wave = resample(found.wave, found.rate, SAMPLE_RATE)
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
            f"{SHORTEST_SECONDS} s are needed, so record it again or leave it out",
            kind="too short",
        )
    return Speech(wave[start:end], start, found.notes)


def _aligned_span(phones: list[Phone], samples: int) -> tuple[int, int]:
    first, last = speech_bounds(phones)
    if last * SAMPLE_RATE > samples + MARGIN_SECONDS * SAMPLE_RATE:
        raise AudioError(
            f"an alignment reaches {last:.2f} s into a recording of {samples / SAMPLE_RATE:.2f} s; "
            "align it again"
        )
    start = max(0, round((first - MARGIN_SECONDS) * SAMPLE_RATE))
    return start, min(samples, round((last + MARGIN_SECONDS) * SAMPLE_RATE))


def _usable(utterance: Utterance, speech: Speech, phones: list[Phone] | None) -> Usable:
    frames = len(speech.wave) // HOP
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
    return Usable(speech, symbols, durations)


def features_of(utterance: Utterance, usable: Usable, signals: Sequence[str]) -> Features:
    """The features of what :func:`require_usable` found, with the further ``signals`` that sources hear."""
    wave = torch.from_numpy(usable.speech.wave)
    spectrum = magnitude(wave)
    pitch = track_pitch(wave)
    return Features(
        utterance_id=utterance.utterance_id,
        phonemes=encode(usable.symbols),
        mel=mel_of_magnitude(spectrum),
        log_f0=pitch.log_f0,
        voiced=pitch.voiced,
        energy=log_energy(spectrum),
        durations=usable.durations,
        signals={name: extractor(name)(wave) for name in signals},
    )


def _symbols_of_text(utterance: Utterance) -> list[str]:
    if not utterance.text.strip():
        raise AudioError("there is no transcript; add one or leave the recording out", kind="no text")
    return phonemize(utterance.text, utterance.language)
