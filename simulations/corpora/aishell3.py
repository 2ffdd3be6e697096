"""AISHELL-3, Mandarin: ``train/wav/SSB0005/SSB00050001.wav`` and ``train/content.txt``.

A line of ``content.txt`` is the file's name, a tab, and characters and pinyin in turn: ``你 ni3 好 hao3``.
Its parts train and test are the split, unless a speaker is in both.
"""

from __future__ import annotations

from pathlib import Path

from client.home.nearby import NearbyFiles
from client.home.recordings import Problem, Recordings
from shared_models.audio.decoding import AUDIO_SUFFIXES
from shared_models.text_file import read_text
from shared_models.utterance import Split, Utterance

_PARTS: tuple[Split, ...] = ("train", "test")
_SPEAKER_LETTERS = 7  # SSB0005


def recognises(root: Path) -> bool:
    """Whether ``root`` is laid out like AISHELL-3."""
    return any((root / part / "content.txt").is_file() for part in _PARTS)


def find(root: Path) -> Recordings:
    """All utterances of both parts, in the language ``zh``; the characters alone are the text."""
    utterances, problems = [], []
    nearby = NearbyFiles()
    for part in _PARTS:
        content = root / part / "content.txt"
        for name, text in _entries(content) if content.is_file() else ():
            speaker = name[:_SPEAKER_LETTERS]
            written = root / part / "wav" / speaker / name
            # Under its own suffix, or another one that it was converted to.
            audio = nearby.find(written) or nearby.first(written.with_suffix(""), AUDIO_SUFFIXES)
            if not text:
                problems.append(Problem(written, "no text", "no text"))
            elif audio is None:
                problems.append(Problem(written, "there is no such file", "missing"))
            else:
                utterances.append(Utterance(audio.stem, speaker, audio, text, language="zh", split=part))
    splits: dict[str, set[Split]] = {}
    for utterance in utterances:
        splits.setdefault(utterance.speaker_id, set()).add(utterance.split)
    # A speaker in both parts is train material: nobody may be cloned whom training has heard.
    if any(len(parts) > 1 for parts in splits.values()) or len({u.split for u in utterances}) < 2:
        utterances = [_of_train(u) for u in utterances]
        return Recordings(tuple(utterances), tuple(problems))
    return Recordings(tuple(utterances), tuple(problems), states_split=True)


def _of_train(utterance: Utterance) -> Utterance:
    return Utterance(utterance.utterance_id, utterance.speaker_id, utterance.audio, utterance.text, "zh")


def _entries(content: Path) -> list[tuple[str, str]]:
    lines = read_text(content).splitlines()
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, tab, rest = line.partition("\t")
        # A line without a tab has no text, and is named as such.
        entries.append((name.strip() if tab else f"line {number}", "".join(rest.split()[::2])))
    return entries
