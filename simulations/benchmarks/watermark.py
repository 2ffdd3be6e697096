"""The mark in speech: how often it is found, also after what recordings go through, and what it costs."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

import numpy as np
import soundfile

from client.speaker import Speaker
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.reading import Wave, read_audio
from shared_models.errors import MissingExtraError
from shared_models.pretrained import voice_names
from shared_models.text.phonemes import encode, phonemize
from shared_models.utterance import Utterance
from shared_models.watermark.detection import detect
from shared_models.watermark.perth import load_watermark
from shared_models.watermark.spectrum import resampled
from simulations.benchmarks.threads import torch_threads
from simulations.evaluation.intelligibility import SENTENCES, read_sentences
from simulations.evaluation.naturalness import load_distill_mos

Heard = tuple[Wave, int]
"""A recording ``(samples,)`` and its rate in Hz."""
Attack = Callable[[Wave], Heard]
Stage = Callable[[str], Callable[[int, int], None]]
SNR = 20.0
"""Decibels of the speech above the white noise that is added."""
CROP = 2.0
"""Seconds."""
TRIM = 37
"""Samples: no multiple of a hop."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with the 95 % interval of Clopper and Pearson (1934)."""

    found: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound of the share."""
        from scipy.stats import binomtest

        bounds = binomtest(self.found, self.of).proportion_ci(0.95, method="exact")
        return float(bounds.low), float(bounds.high)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"low": self.interval[0], "high": self.interval[1]}


@dataclass(frozen=True, slots=True)
class WatermarkBench:
    """What was found, and at what cost."""

    detected: dict[str, Share]
    """Marked speech, by what was done to it."""
    false_alarms: dict[str, Share]
    """What carries no mark: real recordings, and the same speech before it was marked."""
    seconds: float
    """The middle length of the marked clips."""
    snr: float
    """Decibels of the speech above the mark, on average."""
    cost: dict[str, float]
    """Seconds of work a second of sound: speaking without the mark, the mark alone, and detecting it."""
    opinion: dict[str, float] | None
    """Mean of Distill-MOS before and after the mark; None where it is not installed."""
    threads: int
    load_average: list[float]


def measure_watermark(
    clips: int,
    recordings: Sequence[Utterance],
    *,
    threads: int = 2,
    stage: Stage = lambda _: lambda _done, _total: None,
) -> WatermarkBench:
    """Speak ``clips`` sentences in the packaged voices, mark them, and look for the mark in them and ``recordings``."""
    load = [os.getloadavg()[0]]
    with torch_threads(threads):
        plain, marked, cost = _spoken(clips, stage("speaking and marking"))
        detected = {
            name: _found([attack(wave) for wave in marked], stage(name)) for name, attack in ATTACKS.items()
        }
        false_alarms = {
            "real recordings": _found(
                (read_audio(u.audio) for u in recordings), stage("recordings"), len(recordings)
            ),
            "the same speech before the mark": _found(
                [(wave, SAMPLE_RATE) for wave in plain], stage("unmarked")
            ),
        }
        cost["detect"] = _detecting(marked)
        opinion = _opinions(plain, marked, stage("opinions"))
    load.append(os.getloadavg()[0])
    seconds = median(len(wave) / SAMPLE_RATE for wave in marked)
    return WatermarkBench(detected, false_alarms, seconds, _snr(plain, marked), cost, opinion, threads, load)


def as_json(bench: WatermarkBench) -> dict[str, Any]:
    """Plain data."""
    return asdict(bench) | {
        "detected": {name: share.as_json() for name, share in bench.detected.items()},
        "false_alarms": {name: share.as_json() for name, share in bench.false_alarms.items()},
    }


def _spoken(
    count: int, progress: Callable[[int, int], None]
) -> tuple[list[Wave], list[Wave], dict[str, float]]:
    """The clips without and with the mark, and what each cost a second of sound."""
    speakers = [Speaker.packaged(name) for name in voice_names()]
    said = [sentence.text for sentence in read_sentences(SENTENCES)]
    watermark, plain, marked = load_watermark(), [], []
    speaking = marking = 0.0
    speakers[0].warm_up()
    for number in range(count):
        phonemes = encode(phonemize(said[number % len(said)]))
        started = time.perf_counter()
        wave = speakers[number % len(speakers)].unmarked(phonemes).wave
        spoken = time.perf_counter()
        marked.append(watermark.mark(wave, SAMPLE_RATE))
        marking += time.perf_counter() - spoken
        speaking += spoken - started
        plain.append(wave)
        progress(number + 1, count)
    seconds = sum(map(len, plain)) / SAMPLE_RATE
    return plain, marked, {"speak": speaking / seconds, "mark": marking / seconds}


def _found(clips: Any, progress: Callable[[int, int], None], of: int | None = None) -> Share:
    total, found = of if of is not None else len(clips), 0
    for number, (wave, rate) in enumerate(clips, start=1):
        found += detect(wave, rate).marked
        progress(number, total)
    return Share(found, total)


def _detecting(marked: Sequence[Wave]) -> float:
    started = time.perf_counter()
    for wave in marked:
        detect(wave, SAMPLE_RATE)
    return (time.perf_counter() - started) / (sum(map(len, marked)) / SAMPLE_RATE)


def _opinions(
    plain: Sequence[Wave], marked: Sequence[Wave], progress: Callable[[int, int], None]
) -> dict[str, float] | None:
    try:
        listener = load_distill_mos()
    except MissingExtraError:
        return None
    scores = []
    for number, pair in enumerate(zip(plain, marked, strict=True), start=1):
        scores.append([listener.score(wave, SAMPLE_RATE) for wave in pair])
        progress(number, len(plain))
    return {"before": mean(before for before, _ in scores), "after": mean(after for _, after in scores)}


def _snr(plain: Sequence[Wave], marked: Sequence[Wave]) -> float:
    ratios = [np.square(p).sum() / np.square(m - p).sum() for p, m in zip(plain, marked, strict=True)]
    return float(mean(10 * np.log10(ratios)))


def _through(container: str, encoding: str, rate: int) -> Attack:
    """A lossy file, at its encoder's usual quality."""

    def attack(wave: Wave) -> Heard:
        buffer = io.BytesIO()
        soundfile.write(buffer, resampled(wave, SAMPLE_RATE, rate), rate, format=container, subtype=encoding)
        buffer.seek(0)
        heard, found = soundfile.read(buffer, dtype="float32")
        return heard, int(found)

    return attack


def _narrow(wave: Wave) -> Heard:
    return resampled(wave, SAMPLE_RATE, 8_000), 8_000


def _noisy(wave: Wave) -> Heard:
    noise = np.random.default_rng(len(wave)).standard_normal(len(wave)).astype(np.float32)
    level = np.sqrt(np.square(wave).mean()) * 10 ** (-SNR / 20)
    return wave + noise * np.float32(level), SAMPLE_RATE


def _cropped(wave: Wave) -> Heard:
    """The middle :data:`CROP` seconds, or all of what is shorter."""
    start = max(0, (len(wave) - round(CROP * SAMPLE_RATE)) // 2)
    return wave[start : start + round(CROP * SAMPLE_RATE)], SAMPLE_RATE


def _at_speed(percent: int) -> Attack:
    """Played faster or slower, pitch and all."""
    return lambda wave: (resampled(wave, percent, 100), SAMPLE_RATE)


ATTACKS: Mapping[str, Attack] = {
    "nothing": lambda wave: (wave, SAMPLE_RATE),
    "MP3": _through("MP3", "MPEG_LAYER_III", SAMPLE_RATE),
    "Opus": _through("OGG", "OPUS", 24_000),
    "8 kHz": _narrow,
    "half as loud": lambda wave: (wave * np.float32(0.5), SAMPLE_RATE),
    f"cropped to {CROP:g} s": _cropped,
    f"{TRIM} samples trimmed": lambda wave: (wave[TRIM:], SAMPLE_RATE),
    f"white noise at {SNR:g} dB": _noisy,
    "2 % faster": _at_speed(102),
    "5 % faster": _at_speed(105),
    "5 % slower": _at_speed(95),
}
