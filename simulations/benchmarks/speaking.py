"""The whole path from text to sound: is every word there, how fast is it, and how soon is it heard?

Speed is measured first, without the recogniser, whose runtime would compete for the cores, and after the same
warm-up that ends the loading in ``fedvoice speak``, which is timed by itself. What is timed and heard is what leaves:
it has the mark in it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from client.speaker import Speaker, Spoken
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.reading import Wave, write_audio
from shared_models.text.pieces import SENTENCE_PAUSE
from shared_models.utterance import Utterance
from simulations.benchmarks.threads import torch_threads
from simulations.evaluation.intelligibility import (
    Sentence,
    Understanding,
    compare,
    listen,
    understand_recordings,
)
from simulations.evaluation.recognition import Recogniser, load_moonshine

THREADS = 2
WORST = 10
Stage = Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True, slots=True)
class Speech:
    """One text as it was spoken."""

    parts: list[tuple[str, Wave]]
    """Its sentences, each with its sound ``(samples,)``, the pause behind it included."""
    seconds_to_first_audio: float
    """Until the first piece of sound was there."""
    seconds_taken: float

    @property
    def wave(self) -> Wave:
        """All of it ``(samples,)``."""
        return np.concatenate([wave for _, wave in self.parts])

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return sum(len(wave) for _, wave in self.parts) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class SpeakingBench:
    """What was understood, beside real recordings heard by the same recogniser, and what it cost."""

    sentences: Understanding
    long_text: Understanding
    real: Understanding
    spoken: list[Speech]
    """The sentences, each a text of its own."""
    spoken_long: Speech
    threads: int
    warm_up_seconds: float
    """The last part of loading: dictionaries, and a first sentence that nobody hears."""
    load_average: list[float]
    """Before and after the timed part, over one minute: on a busy machine times say little."""

    @property
    def all_text(self) -> Understanding:
        """Sentences and long text together, as many words as they have."""
        clips = [*self.sentences.clips, *self.long_text.clips]
        return compare([clip.said for clip in clips], [clip.heard for clip in clips])

    @property
    def real_time_factor(self) -> float:
        """Seconds of work a second of sound, over sentences and long text."""
        everything = [*self.spoken, self.spoken_long]
        return sum(s.seconds_taken for s in everything) / sum(s.seconds for s in everything)

    @property
    def first_audio(self) -> dict[str, float]:
        """Seconds from the text to the first sound: the long text's, and the sentences' middle and worst."""
        waits = [speech.seconds_to_first_audio for speech in self.spoken]
        long_text = self.spoken_long.seconds_to_first_audio
        return {"long_text": long_text, "median": median(waits), "worst": max(waits)}


def measure_speaking(
    speaker: Speaker,
    sentences: Sequence[Sentence],
    long_text: str,
    recordings: Sequence[Utterance],
    *,
    recogniser: Recogniser | None = None,
    threads: int = THREADS,
    audio: Path | None = None,
    stage: Stage | None = None,
) -> SpeakingBench:
    """Speak ``sentences`` and ``long_text``, hear them and the real ``recordings``.

    ``audio`` is a folder for what was spoken. Raises :class:`TextError` for a text without words and
    :class:`MissingExtraError` without a recogniser.
    """
    stage = stage or (lambda _: lambda _done, _total: None)
    recogniser = recogniser or load_moonshine()
    load = [os.getloadavg()[0]]
    with torch_threads(threads):
        started = time.perf_counter()
        speaker.warm_up()
        warming = time.perf_counter() - started
        advance = stage("speaking sentences")
        spoken = []
        for number, sentence in enumerate(sentences, start=1):
            spoken.append(speak(speaker, sentence.text))
            advance(number, len(sentences))
        spoken_long = speak(speaker, long_text, stage("speaking the long text"))
    load.append(os.getloadavg()[0])
    if audio is not None:
        _keep(audio, spoken, spoken_long)
    whole = [(s.reading, speech.wave) for s, speech in zip(sentences, spoken, strict=True)]
    return SpeakingBench(
        _understand(whole, recogniser, stage("hearing sentences")),
        _understand(spoken_long.parts, recogniser, stage("hearing the long text")),
        understand_recordings(recordings, recogniser, stage("hearing real recordings")),
        spoken, spoken_long, threads, warming, load,
    )  # fmt: skip


def speak(speaker: Speaker, text: str, progress: Callable[[int, int], None] | None = None) -> Speech:
    """Speak one text and time it; the pieces of a long sentence are joined. Raises :class:`TextError`."""
    started = time.perf_counter()
    first: float | None = None
    pieces: list[Spoken] = []
    for piece in speaker.stream(text):
        first = time.perf_counter() - started if first is None else first
        pieces.append(piece)
        if progress is not None:
            progress(piece.number, piece.pieces)
    taken = time.perf_counter() - started
    return Speech(_sentences(pieces), first if first is not None else taken, taken)


def as_json(bench: SpeakingBench) -> dict[str, Any]:
    """Plain data."""
    short = sum(speech.seconds for speech in bench.spoken)
    return {
        "sentences": bench.sentences.as_json() | {"seconds": short},
        "all_text": bench.all_text.as_json(),
        "long_text": bench.long_text.as_json() | {"seconds": bench.spoken_long.seconds},
        "real": bench.real.as_json(),
        "worst": [
            {"said": clip.said, "heard": clip.heard, "wer": clip.wer}
            for clip in [*bench.sentences.worst(WORST), *bench.long_text.worst(WORST)]
        ],
        "threads": bench.threads,
        "real_time_factor": bench.real_time_factor,
        "real_time_factor_sentences": sum(s.seconds_taken for s in bench.spoken) / short,
        "real_time_factor_long_text": bench.spoken_long.seconds_taken / bench.spoken_long.seconds,
        "first_audio_seconds": bench.first_audio,
        "warm_up_seconds": bench.warm_up_seconds,
        "load_average": bench.load_average,
    }


def _sentences(pieces: Sequence[Spoken]) -> list[tuple[str, Wave]]:
    """Pieces joined to sentences: a recogniser needs to hear a sentence out."""
    found: list[tuple[str, Wave]] = []
    goes_on = False
    for spoken in pieces:
        if goes_on:
            text, wave = found[-1]
            found[-1] = f"{text} {spoken.piece.text}", np.concatenate([wave, spoken.wave])
        else:
            found.append((spoken.piece.text, spoken.wave))
        goes_on = spoken.piece.pause != SENTENCE_PAUSE
    return found


def _understand(
    clips: Sequence[tuple[str, Wave]], recogniser: Recogniser, progress: Callable[[int, int], None]
) -> Understanding:
    heard = []
    for number, (_, wave) in enumerate(clips, start=1):
        heard.append(listen(recogniser, wave, SAMPLE_RATE))
        progress(number, len(clips))
    return compare([text for text, _ in clips], heard)


def _keep(folder: Path, spoken: Sequence[Speech], spoken_long: Speech) -> None:
    for number, speech in enumerate(spoken, start=1):
        write_audio(folder / f"sentence-{number:03d}.wav", speech.wave, SAMPLE_RATE)
    write_audio(folder / "long-text.wav", spoken_long.wave, SAMPLE_RATE)
