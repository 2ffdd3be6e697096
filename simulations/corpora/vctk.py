"""VCTK 0.92: ``wav48_silence_trimmed/p225/p225_001_mic1.flac`` and ``txt/p225/p225_001.txt``.

Also as people have it: as WAV, with the second microphone alone, or as version 0.80 (``wav48/p225/p225_001.wav``).
"""

from __future__ import annotations

from pathlib import Path

from client.home.nearby import NearbyFiles
from client.home.recordings import Problem, Recordings
from shared_models.audio.decoding import AUDIO_SUFFIXES
from shared_models.errors import CorpusError
from shared_models.text_file import read_text
from shared_models.utterance import Utterance

AUDIO = ("wav48_silence_trimmed", "wav48")
MICROPHONES = ("_mic1", "_mic2", "")
"""The omni-directional one first, which all speakers have in the corpus as it is published."""


def recognises(root: Path) -> bool:
    """Whether ``root`` is laid out like VCTK."""
    return _audio_folder(root) is not None and (root / "txt").is_dir()


def find(root: Path) -> Recordings:
    """All utterances, of the first microphone that each has. Speakers without texts (p315) become problems."""
    utterances, problems = [], []
    folder = _audio_folder(root) or root / AUDIO[0]
    nearby = NearbyFiles()
    for (speaker, utterance_id), audio in sorted(_one_of_each(folder).items()):
        text = nearby.find(root / "txt" / speaker / f"{utterance_id}.txt")
        words = _words(text)
        if words:
            utterances.append(Utterance(utterance_id, speaker, audio, words))
        else:
            name = f"{utterance_id}.txt"
            problems.append(Problem(audio, f"no text: {name} is missing, empty or unreadable", "no text"))
    if not utterances and not problems:
        looked = (
            f"there is no recording like {folder.name}/p225/p225_001_mic1.flac in it, whatever its suffix"
        )
        problems.append(Problem(root, looked, "empty"))
    return Recordings(tuple(utterances), tuple(problems))


def _audio_folder(root: Path) -> Path | None:
    return next((root / name for name in AUDIO if (root / name).is_dir()), None)


def _one_of_each(folder: Path) -> dict[tuple[str, str], Path]:
    """The recording of each speaker and utterance."""
    found: dict[tuple[str, str], tuple[int, int, Path]] = {}
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith("._"):
            continue
        microphone = next(m for m in MICROPHONES if path.stem.lower().endswith(m))
        key = (path.parent.name, path.stem[: len(path.stem) - len(microphone)])
        rank = (MICROPHONES.index(microphone), AUDIO_SUFFIXES.index(path.suffix.lower()), path)
        found[key] = min(found.get(key, rank), rank)
    return {key: path for key, (_, _, path) in found.items()}


def _words(path: Path | None) -> str:
    try:
        return " ".join(read_text(path).split()) if path is not None else ""
    except CorpusError:
        return ""
