"""Whether every word is understood: the edits between what was to be said and what a recogniser hears.

Reference and hypothesis are made alike first: both are read aloud by the project's English front end, so
that "9:30" and "nine thirty" are the same words, and then lose case and punctuation as in
:mod:`simulations.evaluation.recognition`. A text that is not written as it is read carries its reading
beside it, written by hand: a number that the front end misreads counts against the speaker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared_models.audio.reading import Wave, read_audio
from shared_models.errors import AudioError, MissingExtraError, TextError
from shared_models.text.normalisation import normalise_english
from shared_models.utterance import Utterance
from simulations.evaluation.recognition import Recogniser, normalise

SENTENCES = Path(__file__).resolve().parent / "sentences" / "unseen.txt"
"""A hundred sentences of our own that no training text holds: words, questions, numbers, long ones."""
LONG_TEXT = SENTENCES.with_name("long_text.txt")
"""Ten minutes of a story of our own."""
SILENCE_SECONDS = 0.5
"""Put before and after every clip: a recogniser that is fed from the first sound on misses first words."""
_RESAMPLES = 10_000
_READING = "|"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text to speak, and the words that should be heard."""

    text: str
    reading: str


@dataclass(frozen=True, slots=True)
class Heard:
    """One clip: the words that were to be said, those that were heard, and the edits between them."""

    said: str
    heard: str
    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """All three kinds of edit."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Edits by words; above 1 where more was heard than was said."""
        return self.errors / self.words


@dataclass(frozen=True, slots=True)
class Understanding:
    """Clips together: rates are pooled, so that a long clip weighs more than a short one."""

    clips: tuple[Heard, ...]
    cer: float

    @property
    def wer(self) -> float:
        """Edits of all clips by the words of all clips; NaN without any."""
        words = sum(clip.words for clip in self.clips)
        return sum(clip.errors for clip in self.clips) / words if words else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the word error rates of as many clips drawn with replacement (percentile bootstrap)."""
        if len(self.clips) < 2:
            return float("nan"), float("nan")
        counts = np.array([(clip.errors, clip.words) for clip in self.clips], dtype=np.float64)
        random = np.random.default_rng(0)
        drawn = (
            counts[random.integers(len(counts), size=len(counts))].sum(axis=0) for _ in range(_RESAMPLES)
        )
        low, high = np.quantile([errors / words for errors, words in drawn], [0.025, 0.975])
        return float(low), float(high)

    def worst(self, count: int) -> list[Heard]:
        """The clips with the highest word error rates, without those that are free of errors."""
        wrong = [clip for clip in self.clips if clip.errors]
        return sorted(wrong, key=lambda clip: (-clip.wer, -clip.errors))[:count]

    def as_json(self) -> dict[str, Any]:
        """Counts and rates as plain data."""
        kinds = ("words", "substitutions", "deletions", "insertions")
        totals = {kind: sum(getattr(clip, kind) for clip in self.clips) for kind in kinds}
        low, high = self.interval
        rates = {"wer": self.wer, "wer_low": low, "wer_high": high, "cer": self.cer}
        return {"clips": len(self.clips), **totals, **rates}


def read_sentences(path: Path) -> list[Sentence]:
    """One sentence a line; its reading after a bar, where it differs. Lines from ``#`` on are comments.

    Raises :class:`TextError` for a file that cannot be read or holds none.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    pairs = [line.partition(_READING) for line in lines if line and not line.startswith("#")]
    found = [Sentence(text.strip(), (reading or text).strip()) for text, _, reading in pairs]
    if not all(as_read(sentence.reading) for sentence in found) or not found:
        raise TextError(f"{path} must hold sentences to speak, one a line, each with at least one word")
    return found


def read_text(path: Path) -> str:
    """The text of a file; raises :class:`TextError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"the text {path} cannot be read ({error}); name a text file in UTF-8") from error


def as_read(text: str) -> str:
    """The words of a text as they are read aloud, lower case, one space between them."""
    # Transcripts all in capitals are not abbreviations from end to end.
    return normalise(normalise_english(text.lower() if text.isupper() else text))


def listen(recogniser: Recogniser, wave: Wave, rate: int) -> str:
    """What the recogniser hears in ``wave (samples,)`` with silence around it."""
    silence = np.zeros(int(SILENCE_SECONDS * rate), dtype=np.float32)
    return recogniser.transcribe(np.concatenate([silence, wave, silence]), rate)


def compare(said: Sequence[str], heard: Sequence[str]) -> Understanding:
    """Edits between texts and what was heard of them, by jiwer; texts without words are left out.

    Raises :class:`MissingExtraError`.
    """
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtraError(
            "the word error rate needs the 'evaluation' extra: pip install 'fedvoice[evaluation]'"
        ) from error
    pairs = [(as_read(text), as_read(words)) for text, words in zip(said, heard, strict=True)]
    pairs = [pair for pair in pairs if pair[0]]
    if not pairs:
        return Understanding((), float("nan"))
    references, hypotheses = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    clips = []
    for reference, hypothesis in pairs:
        found = jiwer.process_words(reference, hypothesis)
        words = len(reference.split())
        edits = found.substitutions, found.deletions, found.insertions
        clips.append(Heard(reference, hypothesis, words, *edits))
    return Understanding(tuple(clips), float(jiwer.cer(references, hypotheses)))


def understand_recordings(
    recordings: Sequence[Utterance], recogniser: Recogniser, progress: Progress | None = None
) -> Understanding:
    """The same ear on real recordings, straight from their files; unreadable ones are left out."""
    said, heard = [], []
    for number, utterance in enumerate(recordings, start=1):
        try:
            wave, rate = read_audio(utterance.audio)
        except AudioError:
            continue
        said.append(utterance.text)
        heard.append(listen(recogniser, wave, rate))
        if progress is not None:
            progress(number, len(recordings))
    return compare(said, heard)
