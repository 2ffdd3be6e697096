"""LibriTTS and LibriTTS-R: ``train-clean-100/19/198/19_198_000000_000000.wav`` and ``.normalized.txt``.

The path may be the corpus or one of its subsets. ``dev-*`` and ``test-*`` subsets are the test split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from client.home.recordings import Problem, Recordings
from shared_models.audio.decoding import AUDIO_SUFFIXES
from shared_models.errors import CorpusError
from shared_models.text_file import read_text
from shared_models.utterance import Split, Utterance

_SUBSET = re.compile(r"(train|dev|test)-(clean|other)")
_NAME = re.compile(r"\d+_\d+_\d+_\d+")


def recognises(root: Path) -> bool:
    """Whether ``root`` is LibriTTS or one of its subsets."""
    first = next((path for subset in _subsets(root) for path in _audio_in(subset)), None)
    return first is not None and _NAME.fullmatch(first.stem) is not None


def find(root: Path) -> Recordings:
    """All utterances of all subsets. Where only one kind of subset is there, no split is stated."""
    utterances, problems = [], []
    for subset in _subsets(root):
        split: Split = "test" if subset.name.startswith(("dev", "test")) else "train"
        for audio in sorted(_audio_in(subset)):
            words = _words(audio)
            if words:
                speaker = audio.parent.parent.name
                utterances.append(Utterance(audio.stem, speaker, audio, words, split=split))
            else:
                problems.append(Problem(audio, "no text: there is no readable .normalized.txt", "no text"))
    states_split = len({u.split for u in utterances}) == 2
    if not states_split:
        utterances = [Utterance(u.utterance_id, u.speaker_id, u.audio, u.text) for u in utterances]
    return Recordings(tuple(utterances), tuple(problems), states_split)


def _subsets(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    inside = sorted(path for path in root.iterdir() if path.is_dir() and _SUBSET.match(path.name))
    return inside or [root]


def _audio_in(subset: Path) -> Iterator[Path]:
    """The recordings of a subset; they are WAVs as published, and people keep them as FLAC."""
    return (p for p in subset.glob("*/*/*") if p.suffix.lower() in AUDIO_SUFFIXES and p.name[0] != ".")


def _words(audio: Path) -> str:
    for suffix in (".normalized.txt", ".original.txt"):
        try:
            return " ".join(read_text(audio.with_suffix(suffix)).split())
        except CorpusError:
            continue
    return ""
