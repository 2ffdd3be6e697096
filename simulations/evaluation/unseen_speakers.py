"""What cloning achieves on one unseen speaker: cloned from the support, judged on the query.

Several ways of speaking the query texts are compared with the speaker's own recordings of them: ``before``
(the voice of nobody), ``zero_shot`` (the reference encoder alone), ``after`` (adapted), and as anchors the
real recordings, straight (``real``) and through the vocoder (``copy``).

Speech is judged as a person hears it, postfilter and vocoder included, but before the mark. Files that are kept of it
are marked.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.cloning import adapt, adapt_privately, aligned_once, voice_of_nobody, zero_shot
from client.home.ledger import Ledger
from client.learning.local_only import train_alone
from client.speaker import Speaker
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Sends
from shared_models.audio.cache import FeatureCache
from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import SAMPLE_RATE, log_mel
from shared_models.audio.pitch import Pitch, track_pitch
from shared_models.audio.reading import Wave, write_audio
from shared_models.audio.similarity import (
    Embedding,
    SpeakerVerifier,
    centroid,
    load_d_vector,
    similarity,
)
from shared_models.config import Recipe
from shared_models.errors import AudioError
from shared_models.features import Features
from shared_models.file_names import file_name_of
from shared_models.judges import NOBODY, Judges
from shared_models.seeds import generator
from shared_models.speakers.voice import Voice
from shared_models.utterance import Utterance
from shared_models.vocoders import Vocoder, build_vocoder
from shared_models.watermark.perth import load_watermark
from simulations.evaluation.cepstral_distortion import cepstral_distortion
from simulations.evaluation.pitch_error import pitch_error
from simulations.evaluation.recognition import error_rates, load_moonshine

WAYS = ("before", "zero_shot", "after")


@dataclass(frozen=True, slots=True)
class Clip:
    """One sentence as it came out one way."""

    text: str
    wave: Wave
    mel: Tensor
    """``(T, n_mels)``."""


def clone_and_speak(
    model: VoicePartition,
    recipe: Recipe,
    support: Sequence[Features],
    queries: Sequence[tuple[str, Tensor]],
    speaker: str,
    judges: Judges = NOBODY,
) -> dict[str, list[Clip]]:
    """The query texts ``(text, phonemes (L,))`` as spoken before and after cloning from ``speaker``'s ``support``.

    ``judges`` are the base's.

    Under the recipe's personal privacy there is no ``zero_shot``: what the reference encoder hears is a release
    without noise.
    """
    vocoder = build_vocoder(recipe.evaluation.vocoder, model.device)
    if recipe.algorithm.sends is Sends.NOTHING:
        return {"after": speak(model, train_alone(model, support, recipe), queries, vocoder)}
    voices = {"before": voice_of_nobody(model)}
    if recipe.personal_privacy.enabled:
        voices["after"] = _adapted_privately(model, support, recipe, speaker)
    else:
        after = adapt(model, support, recipe, judges=judges)
        voices |= {"zero_shot": zero_shot(model, support), "after": after}
    return {way: speak(model, voices[way], queries, vocoder) for way in WAYS if way in voices}


def _adapted_privately(
    model: VoicePartition, support: Sequence[Features], recipe: Recipe, speaker: str
) -> Voice:
    rng, personal = generator(recipe.seed, "private cloning", speaker), recipe.personal_privacy
    with TemporaryDirectory() as folder:  # a simulated newcomer, whose ledger begins here
        ledger = Ledger(Path(folder) / "ledger.sqlite", personal.epsilon, personal.delta)
        return adapt_privately(model, support, recipe, ledger, rng=rng).voice


def speak(
    model: VoicePartition,
    voice: Voice,
    queries: Sequence[tuple[str, Tensor]],
    vocoder: Vocoder,
) -> list[Clip]:
    """Speak every query in one voice, as a person hears it but before the mark."""
    speaker = Speaker(model.model, voice, vocoder)
    sounds = [(text, speaker.unmarked(phonemes)) for text, phonemes in queries]
    return [Clip(text, sound.wave, sound.mel) for text, sound in sounds]


def speak_as_recorded(
    model: VoicePartition,
    voice: Voice,
    recordings: Sequence[Utterance],
    features: Sequence[Features],
    vocoder: Vocoder,
) -> list[Clip]:
    """The texts of ``recordings`` in one voice, with the recordings' own durations, pitch and energy.

    What better prosody than the model's could bring. ``features`` are the recordings'.
    """
    speaker = Speaker(model.model, voice, vocoder)
    sounds = [speaker.unmarked_as(one) for one in aligned_once(model, features)]
    return [Clip(u.text, sound.wave, sound.mel) for u, sound in zip(recordings, sounds, strict=True)]


def real_clips(recordings: Sequence[Utterance], recipe: Recipe, cache: Path) -> list[Clip]:
    """The speaker's own recordings, trimmed and levelled as the models see them."""
    features = [FeatureCache(cache).get(u, recipe.features) for u in recordings]
    return [
        Clip(u.text, load_speech(u.audio, recipe.features).wave, f.mel)
        for u, f in zip(recordings, features, strict=True)
    ]


def copies(clips: Sequence[Clip], vocoder: Vocoder) -> list[Clip]:
    """The same clips through mel and vocoder: the best that any acoustic model could do with it."""
    return [Clip(clip.text, vocoder(clip.mel).numpy(), clip.mel) for clip in clips]


def embeddings(clips: Sequence[Clip], verifier: SpeakerVerifier | None = None) -> list[Embedding | None]:
    """A verifier's embedding of each clip, GE2E's by default; None for one too silent to have a voice."""
    verifier = verifier or load_d_vector()
    found: list[Embedding | None] = []
    for clip in clips:
        try:
            found.append(verifier.embed(clip.wave, SAMPLE_RATE))
        except AudioError:
            found.append(None)
    return found


def measure(
    clips: Sequence[Clip],
    real: Sequence[Clip],
    targets: Mapping[str, Embedding],
    speaker: str,
    recipe: Recipe,
) -> dict[str, float]:
    """Means over one speaker's clips; ``targets`` are the voices of all unseen speakers by name.

    ``similarity`` is to the speaker's own voice, ``similarity_wrong_speaker`` the mean to everybody else's.
    """
    measures: dict[str, Callable[[], dict[str, float]]] = {
        "similarity": lambda: _similarities(embeddings(clips), targets, speaker),
        "mcd": lambda: {
            "mcd": _mean(cepstral_distortion(c.mel, r.mel) for c, r in zip(clips, real, strict=True))
        },
        "f0": lambda: _pitch_errors(clips, real),
        "wer": lambda: _error_rates(clips),
    }
    found: dict[str, float] = {}
    for name in recipe.evaluation.metrics:
        found |= measures[name]()
    return found


def _similarities(
    heard: Sequence[Embedding | None], targets: Mapping[str, Embedding], speaker: str
) -> dict[str, float]:
    # A clip without a voice resembles nobody.
    own = [similarity(e, targets[speaker]) if e is not None else 0.0 for e in heard]
    others = [name for name in targets if name != speaker]
    wrong = [similarity(e, targets[name]) if e is not None else 0.0 for e in heard for name in others]
    return {"similarity": _mean(own), "similarity_wrong_speaker": _mean(wrong)}


def _pitch_errors(clips: Sequence[Clip], real: Sequence[Clip]) -> dict[str, float]:
    errors = [
        pitch_error(_pitch(clip), log_mel(_tensor(clip)), _pitch(own), log_mel(_tensor(own)))
        for clip, own in zip(clips, real, strict=True)
    ]
    return {"f0_rmse": _mean(e.rmse_hz for e in errors), "f0_rmse_cents": _mean(e.rmse_cents for e in errors)}


def _error_rates(clips: Sequence[Clip]) -> dict[str, float]:
    recogniser = load_moonshine()
    heard = [recogniser.transcribe(clip.wave, SAMPLE_RATE) for clip in clips]
    rates = error_rates([clip.text for clip in clips], heard)
    return {"wer": rates.wer, "cer": rates.cer}


def voice_of(clips: Sequence[Clip]) -> Embedding:
    """The centroid of a speaker's real clips: what clones are compared with."""
    return centroid([e for e in embeddings(clips) if e is not None])


def save_clips(
    clips: Mapping[str, Sequence[Clip]], folder: Path, speaker: str, marked: Container[str] = WAYS
) -> dict[str, str]:
    """Write the first clip of every way, with the mark in it where it is ``marked``; file names by way."""
    names = {}
    for way, spoken in clips.items():
        names[way] = f"{file_name_of(speaker)}-{way}.wav"
        wave = spoken[0].wave
        if way in marked:
            wave = load_watermark().mark(wave, SAMPLE_RATE)
        write_audio(folder / names[way], wave, SAMPLE_RATE)
    return names


def _pitch(clip: Clip) -> Pitch:
    return track_pitch(_tensor(clip))


def _tensor(clip: Clip) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(clip.wave))


def _mean(values: Any) -> float:
    known: NDArray[np.float64] = np.asarray([v for v in values if not np.isnan(v)], dtype=np.float64)
    return float(known.mean()) if len(known) else float("nan")
