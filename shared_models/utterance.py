"""One utterance: a recording, what was said in it, and who said it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "test"]
Role = Literal["train", "support", "query"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording on disk and its transcript. Nothing is read until somebody asks for the audio.

    ``split`` says whether training may see the speaker (``train``) or must not (``test``); ``role``
    separates a test speaker's cloning material (``support``) from what the clone is judged on (``query``).
    """

    utterance_id: str
    speaker_id: str
    audio: Path
    text: str
    language: str = "en"
    seconds: float | None = None
    split: Split = "train"
    role: Role = "train"
    alignment: Path | None = None
    """A phone alignment: a TextGrid (Montreal Forced Aligner) or our own ``.phones`` table."""
