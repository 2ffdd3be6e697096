"""AISHELL-3, Mandarin: ``train/wav/SSB0005/SSB00050001.wav`` and ``train/content.txt``.

A line of ``content.txt`` is the file's name, a tab, and characters and pinyin in turn: ``你 ni3 好 hao3``.
Its parts train and test are the split, unless a speaker is in both.
"""

from __future__ import annotations

from pathlib import Path

from client.home.recordings import Problem, Recordings
from shared_models.errors import CorpusError
from shared_models.utterance import Split, Utterance

_PARTS: tuple[Split, ...] = ("train", "test")
_SPEAKER_LETTERS = 7  # SSB0005


def recognises(root: Path) -> bool:
    """Whether ``root`` is laid out like AISHELL-3."""
    return any((root / part / "content.txt").is_file() for part in _PARTS)


def find(root: Path) -> Recordings:
    """All utterances of both parts, in the language ``zh``; the characters alone are the text."""
    utterances, problems = [], []
    for part in _PARTS:
        content = root / part / "content.txt"
        for name, text in _entries(content) if content.is_file() else ():
            speaker = name[:_SPEAKER_LETTERS]
            audio = root / part / "wav" / speaker / name
            if not text:
                problems.append(Problem(audio, "no text"))
            elif not audio.is_file():
                problems.append(Problem(audio, "there is no such file"))
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
    try:
        lines = content.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{content} cannot be read ({error}); copy it again from the corpus") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, tab, rest = line.partition("\t")
        if not tab:
            raise CorpusError(f"{content}, line {number}: expected name, tab, text; restore that line")
        entries.append((name.strip(), "".join(rest.split()[::2])))
    return entries
