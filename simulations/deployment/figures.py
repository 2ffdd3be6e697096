"""What a deployed form costs and how it sounds, beside the model that it was made from.

It is judged as a person hears it, but before the mark, which is the same in all forms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.speaker import Speaker
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.similarity import centroid, load_d_vector, similarity
from shared_models.base_model import BaseModel
from shared_models.errors import AudioError, MissingExtraError
from shared_models.export.onnx_voice import ACOUSTIC, VOCODER, OnnxVoice
from shared_models.speakers.voice import Voice
from shared_models.text.phonemes import encode, phonemize
from shared_models.vocoders import NeuralVocoder
from simulations.benchmarks.threads import torch_threads
from simulations.deployment.tuning import Progress
from simulations.evaluation.intelligibility import (
    SENTENCES,
    Sentence,
    as_read,
    compare,
    listen,
    read_sentences,
)
from simulations.evaluation.time_warping import pairwise_distances, warp

THREADS = 2
MEGABYTE = 1e6
Array = NDArray[np.float32]
Synthesis = Callable[[list[str]], tuple[Array, Array]]
"""Phonemes of a sentence to its mel ``(T, 80)`` and wave ``(T * HOP,)``."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """The sentences as one form speaks them."""

    mels: list[Array]
    waves: list[Array]
    real_time_factor: float
    """Seconds of work by seconds of sound: below 1 is faster than speech."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A row of the table. None is what could not be measured: its extra is not installed, or nothing sounds."""

    form: str
    megabytes: float
    """Acoustic model and vocoder, without the mark's encoder, which an export holds too."""
    real_time_factor: float
    """On :data:`THREADS` threads."""
    mel_l1: float
    """Mean difference from the original's mel, natural log; along the warping path where lengths differ."""
    wer: float | None
    """Word error rate of the recogniser."""
    similarity: float | None
    """Cosine of the speaker embedding to the original's speech."""

    def as_json(self) -> dict[str, Any]:
        """The row by column."""
        return asdict(self)


def sentences(count: int) -> list[Sentence]:
    """The first ``count`` of the packaged sentences that no training text holds."""
    return read_sentences(SENTENCES)[:count]


def original_synthesis(base: BaseModel, vocoder: NeuralVocoder, speaker: Voice) -> Synthesis:
    """The networks themselves, by torch."""
    voice = Speaker(base.model.model, speaker, vocoder)

    def speak(symbols: list[str]) -> tuple[Array, Array]:
        sound = voice.unmarked(encode(symbols))
        return sound.mel.numpy(), sound.wave

    return speak


def exported_synthesis(voice: OnnxVoice) -> Synthesis:
    """An exported folder, by ONNX Runtime."""

    return voice.unmarked


def speak_all(synthesis: Synthesis, said: Sequence[Sentence], progress: Progress | None = None) -> Spoken:
    """Speak every sentence and time it; one that does not count is spoken first."""
    phonemes = [phonemize(sentence.text) for sentence in said]
    mels, waves, taken = [], [], 0.0
    with torch_threads(THREADS):
        synthesis(phonemes[0])
        for number, symbols in enumerate(phonemes, start=1):
            started = time.perf_counter()
            mel, wave = synthesis(symbols)
            taken += time.perf_counter() - started
            mels.append(mel)
            waves.append(wave)
            if progress is not None:
                progress(number, len(phonemes))
    return Spoken(mels, waves, taken * SAMPLE_RATE / sum(len(wave) for wave in waves))


def judge(form: str, size: int, spoken: Spoken, original: Spoken, said: Sequence[Sentence]) -> Figures:
    """The row of ``form``, whose files are ``size`` bytes."""
    return Figures(
        form,
        size / MEGABYTE,
        spoken.real_time_factor,
        float(np.mean([mel_distance(a, b) for a, b in zip(spoken.mels, original.mels, strict=True)])),
        _word_errors(spoken.waves, said),
        _similarity(spoken.waves, original.waves),
    )


def mel_distance(one: Array, other: Array) -> float:
    """Mean absolute difference of two mels ``(T, 80)``, frames paired by time warping where T differs."""
    if one.shape == other.shape:
        return float(np.abs(one - other).mean())
    rows, columns = warp(pairwise_distances(one.astype(np.float64), other.astype(np.float64)))
    return float(np.abs(one[rows] - other[columns]).mean())


def original_size(base: BaseModel, vocoder: NeuralVocoder) -> int:
    """Bytes of what is deployed of the original, in float32."""
    networks = (base.model.model.acoustic, vocoder.generator)
    return sum(4 * parameter.numel() for network in networks for parameter in network.parameters())


def exported_size(voice: OnnxVoice) -> int:
    """Bytes of an export's two graphs."""
    return sum((voice.folder / name).stat().st_size for name in (ACOUSTIC, VOCODER))


def _word_errors(waves: Sequence[Array], said: Sequence[Sentence]) -> float | None:
    from simulations.evaluation.recognition import load_moonshine

    try:
        recogniser = load_moonshine()
        heard = [listen(recogniser, wave, SAMPLE_RATE) for wave in waves]
        found = compare([as_read(sentence.reading) for sentence in said], heard).wer
    except MissingExtraError:
        return None
    return found if math.isfinite(found) else None


def _similarity(waves: Sequence[Array], originals: Sequence[Array]) -> float | None:
    try:
        verifier = load_d_vector()
        target = centroid([verifier.embed(wave, SAMPLE_RATE) for wave in originals])
        own = centroid([verifier.embed(wave, SAMPLE_RATE) for wave in waves])
    except (MissingExtraError, AudioError):
        return None
    return similarity(own, target)
