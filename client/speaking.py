"""Text to speech in a given voice: any length of text, piece by piece, so that the first is heard early."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.postfilter import sharpen
from shared_models.audio.reading import Wave
from shared_models.errors import TextError
from shared_models.speakers.condition import SpeakerCondition
from shared_models.text.phonemes import encode, phonemize
from shared_models.vocoders import Vocoder

SENTENCE_PAUSE = 0.25
"""Seconds of silence after a sentence."""
CLAUSE_PAUSE = 0.08
"""Seconds of silence where a long sentence is cut."""
LONGEST_PIECE = 160
"""Characters that are synthesised at once: about ten seconds, as long as what models are trained on."""
# A homograph and a word of no dictionary: what English needs to be read from disk, these words need.
_FIRST_WORDS = "I read zbligs."
_FIRST_WORDS_MANDARIN = "你好。"
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+(?=\S)|(?<=[。！？])")
# A stop after these goes on with the sentence: titles before a name, initials, and what stands before a number.
_NO_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Messrs|Dr|Prof|Capt|Col|Gen|Lt|Sgt|Maj|Rev|Hon|Gov|Pres|Sen|St|Mt|vs|No|Fig|Vol|Ch|pp?|e\.g|i\.e)"
    r"|(?:^|[\s(.])[A-Z])\.$"
)
_CLAUSE_END = re.compile(r"(?<=[,;:，；：])\s+|\s+(?=[—–(])|(?<=[，；：、])")


@dataclass(frozen=True, slots=True)
class Piece:
    """What is synthesised at once: a sentence, or a part of a long one."""

    text: str
    pause: float
    """Seconds of silence behind it."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One piece as sound."""

    piece: Piece
    wave: Wave
    """``(samples,)`` at 22,050 Hz, its pause included."""
    number: int
    """Counted from 1."""
    pieces: int
    """How many the text has."""


def split_text(text: str) -> list[Piece]:
    """The pieces of a text: sentences, and long ones cut at clauses, or else between words."""
    pieces: list[Piece] = []
    for line in text.splitlines():
        for sentence in _sentences(line):
            parts = _parts(sentence)
            pieces += [Piece(part, CLAUSE_PAUSE) for part in parts[:-1]]
            pieces.append(Piece(parts[-1], SENTENCE_PAUSE))
    return pieces


def _sentences(line: str) -> list[str]:
    found: list[str] = []
    for part in filter(None, (part.strip() for part in _SENTENCE_END.split(line))):
        # Nor does a sentence begin with a small letter, as after "p.m.".
        if found and (_NO_END.search(found[-1]) or (part[0].islower() and found[-1].endswith("."))):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def _parts(sentence: str) -> list[str]:
    """Parts of at most :data:`LONGEST_PIECE` characters (or one longer word), cut as late as that allows."""
    if len(sentence) <= LONGEST_PIECE:
        return [sentence]
    clauses = _CLAUSE_END.split(sentence)
    return _joined(part for clause in clauses for part in _joined(clause.split()))


def _joined(parts: Iterable[str]) -> list[str]:
    """``parts`` with as many neighbours joined, from the first on, as :data:`LONGEST_PIECE` allows."""
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + 1 + len(part) <= LONGEST_PIECE:
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def warm_up(
    model: VoiceModel, vocoder: Vocoder, condition: SpeakerCondition, *, language: str = "en"
) -> None:
    """Load all that the first sentence would wait for, by speaking one that nobody hears.

    The dictionary, the tagger of words that are written alike, and the model that reads unknown words are each
    read from disk where they are first needed. Raises :class:`TextError` for a language that cannot be spoken.
    """
    mandarin = language.strip().lower().startswith(("zh", "cmn"))
    text = _FIRST_WORDS_MANDARIN if mandarin else _FIRST_WORDS
    for _ in speak_piecewise(model, vocoder, condition, text, language=language):
        pass


@torch.no_grad()
def speak_piecewise(
    model: VoiceModel,
    vocoder: Vocoder,
    condition: SpeakerCondition,
    text: str,
    *,
    language: str = "en",
    speed: float = 1.0,
    pitch_shift: float = 0.0,
) -> Iterator[Spoken]:
    """Speak ``text`` piece by piece as each is ready; ``pitch_shift`` in semitones, ``speed`` 2 is twice as fast.

    Raises :class:`TextError` if there is nothing to say.
    """
    pieces = [piece for piece in split_text(text) if any(c.isalnum() for c in piece.text)]
    if not pieces:
        raise TextError("there is nothing to say: give a text with at least one word")
    model.eval()
    for number, piece in enumerate(pieces, start=1):
        phonemes = encode(phonemize(piece.text, language))[None]
        lengths = torch.tensor([phonemes.shape[1]])
        mel, _ = model.synthesize(
            phonemes, lengths, condition, duration_scale=1.0 / speed, pitch_shift=pitch_shift
        )
        wave = vocoder(torch.from_numpy(sharpen(mel[0].numpy(), model.dimensions.contrast))).numpy()
        pause = np.zeros(int(piece.pause * SAMPLE_RATE) if number < len(pieces) else 0, dtype=np.float32)
        yield Spoken(piece, np.concatenate([wave, pause]), number, len(pieces))


def speak(
    model: VoiceModel,
    vocoder: Vocoder,
    condition: SpeakerCondition,
    text: str,
    *,
    language: str = "en",
    speed: float = 1.0,
    pitch_shift: float = 0.0,
    on_piece: Callable[[int, int], None] | None = None,
) -> Wave:
    """The whole of :func:`speak_piecewise` as ``(samples,)`` at 22,050 Hz."""
    waves = []
    for spoken in speak_piecewise(
        model, vocoder, condition, text, language=language, speed=speed, pitch_shift=pitch_shift
    ):
        waves.append(spoken.wave)
        if on_piece is not None:
            on_piece(spoken.number, spoken.pieces)
    return np.concatenate(waves)
