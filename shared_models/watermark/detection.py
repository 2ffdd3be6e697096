"""Whether a recording carries the mark, part by part, so that a marked sentence in a long recording is found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared_models.audio.reading import Wave
from shared_models.watermark.perth import THRESHOLD, load_watermark

PART_SECONDS = 10.0
"""About how long a part is; a recording of up to 15 s is one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a recording, in seconds from its start, and how sure the detector is of the mark in it."""

    start: float
    end: float
    score: float
    """From 0, no mark, to 1, marked."""

    @property
    def marked(self) -> bool:
        """Whether the score counts as a mark."""
        return self.score >= THRESHOLD


@dataclass(frozen=True, slots=True)
class Detection:
    """What the detector says of a recording."""

    parts: tuple[Part, ...]

    @property
    def marked(self) -> bool:
        """Whether any part is marked."""
        return any(part.marked for part in self.parts)

    @property
    def score(self) -> float:
        """The highest score of a part."""
        return max(part.score for part in self.parts)

    @property
    def seconds(self) -> float:
        """How long the recording is."""
        return self.parts[-1].end

    @property
    def seconds_marked(self) -> float:
        """How long its marked parts are together."""
        return sum(part.end - part.start for part in self.parts if part.marked)


def detect(wave: Wave, rate: int) -> Detection:
    """Look for the mark in ``wave (samples,)`` at ``rate`` Hz, at least one sample.

    Raises :class:`WatermarkError` where the detector is not installed.
    """
    watermark = load_watermark()
    count = max(1, round(len(wave) / rate / PART_SECONDS))
    parts, start = [], 0
    for piece in np.array_split(wave, count):
        end = start + len(piece)
        parts.append(Part(start / rate, end / rate, watermark.score(piece, rate)))
        start = end
    return Detection(tuple(parts))
