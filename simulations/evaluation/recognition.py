"""How well a clone is understood: word and character error rates by a speech recogniser.

The recogniser is Moonshine tiny-en (moonshine-voice 0.0.65, weights inside the package). Before they are
compared, reference and hypothesis are normalised alike: Unicode compatibility forms, lower case, curly
apostrophes made straight, everything but letters, digits and apostrophes replaced by a space, apostrophes at
the edge of a word dropped, runs of spaces joined. Numbers are not spelled out: use sentences without digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from shared_models.audio.reading import Wave, resample
from shared_models.errors import MissingExtraError

_RATE = 16000
_EXTRA = "needs the 'evaluation' extra: pip install 'fedvoice[evaluation]'"
_NOT_SPOKEN = re.compile(r"[^\w']|_")
_EDGE_APOSTROPHES = re.compile(r"(?<!\w)'+|'+(?!\w)")


class Recogniser(Protocol):
    """Anything that writes down what it hears."""

    name: str

    def transcribe(self, wave: Wave, rate: int) -> str:
        """What is said in ``wave (samples,)``; empty where nothing is understood."""
        ...


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Edits by the reference's length, pooled over sentences. Above 1 where more was heard than was said."""

    wer: float
    cer: float


class Moonshine:
    """Moonshine tiny-en; :func:`load_moonshine` gives it. Its runtime uses all cores of the process."""

    name = "moonshine-tiny-en"

    def __init__(self, transcriber: Any) -> None:
        self._transcriber = transcriber

    def transcribe(self, wave: Wave, rate: int) -> str:
        """What is said in ``wave (samples,)``, with the recogniser's own case and punctuation."""
        heard = resample(np.asarray(wave, dtype=np.float32), rate, _RATE)
        lines = self._transcriber.transcribe_without_streaming(heard.tolist(), _RATE).lines
        return " ".join(line.text.strip() for line in lines)


@lru_cache(maxsize=1)
def load_moonshine() -> Moonshine:
    """The recogniser; raises :class:`MissingExtraError` where it is not installed."""
    try:
        from moonshine_voice import ModelArch, Transcriber
        from moonshine_voice.utils import get_model_path
    except ImportError as error:
        raise MissingExtraError(f"speech recognition {_EXTRA}") from error
    model = get_model_path("tiny-en")
    if not model.is_dir():
        raise MissingExtraError(
            "speech recognition needs the release of moonshine-voice that carries its weights: "
            "pip install moonshine-voice==0.0.65"
        )
    options = {"return_audio_data": "false", "identify_speakers": "false"}
    return Moonshine(Transcriber(str(model), ModelArch.TINY, options=options))


def normalise(text: str) -> str:
    """Text as error rates compare it: see the top of this module."""
    straight = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'").lower()
    return " ".join(_EDGE_APOSTROPHES.sub(" ", _NOT_SPOKEN.sub(" ", straight)).split())


def error_rates(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRates:
    """WER and CER over pairs of sentences, by jiwer; NaN where the references hold no words.

    Characters include the spaces between words. Raises :class:`MissingExtraError`.
    """
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtraError(f"the word error rate {_EXTRA}") from error
    pairs = [(normalise(r), normalise(h)) for r, h in zip(references, hypotheses, strict=True)]
    spoken = [pair for pair in pairs if pair[0]]
    if not spoken:
        return ErrorRates(float("nan"), float("nan"))
    said, heard = [pair[0] for pair in spoken], [pair[1] for pair in spoken]
    return ErrorRates(wer=float(jiwer.wer(said, heard)), cer=float(jiwer.cer(said, heard)))
