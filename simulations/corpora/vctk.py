"""VCTK 0.92: ``wav48_silence_trimmed/p225/p225_001_mic1.flac`` and ``txt/p225/p225_001.txt``."""

from __future__ import annotations

from pathlib import Path

from client.home.recordings import Problem, Recordings
from shared_models.utterance import Utterance

AUDIO = "wav48_silence_trimmed"
MICROPHONE = "mic1"
"""The omni-directional one, which every speaker but p280 and p315 has beside mic2."""


def recognises(root: Path) -> bool:
    """Whether ``root`` is laid out like VCTK 0.92."""
    return (root / AUDIO).is_dir() and (root / "txt").is_dir()


def find(root: Path) -> Recordings:
    """All utterances of the first microphone. Speakers without texts (p315) become problems."""
    utterances, problems = [], []
    for audio in sorted((root / AUDIO).glob(f"*/*_{MICROPHONE}.flac")):
        speaker = audio.parent.name
        utterance_id = audio.stem.removesuffix(f"_{MICROPHONE}")
        text = root / "txt" / speaker / f"{utterance_id}.txt"
        words = _words(text)
        if words:
            utterances.append(Utterance(utterance_id, speaker, audio, words))
        else:
            problems.append(Problem(audio, f"no text: {text.name} is missing, empty or unreadable"))
    return Recordings(tuple(utterances), tuple(problems))


def _words(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return ""
