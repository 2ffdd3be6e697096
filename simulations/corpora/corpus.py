"""A corpus: speakers, each with utterances, split into those that training may see and those it must not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from client.home.recordings import Problem
from shared_models.utterance import Split, Utterance


@dataclass(frozen=True, slots=True)
class Corpus:
    """Utterances on disk, sorted by id; audio is read by whoever needs it, when they need it."""

    name: str
    root: Path
    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...] = ()
    """Files that are left out, and why."""

    def speakers(self, split: Split) -> dict[str, list[Utterance]]:
        """The utterances of every speaker of a split, by speaker id, in the order of ids.

        A test speaker's support comes before their query.
        """
        grouped: dict[str, list[Utterance]] = defaultdict(list)
        for utterance in self.utterances:
            if utterance.split == split:
                grouped[utterance.speaker_id].append(utterance)
        return {s: sorted(u, key=lambda x: x.role == "query") for s, u in sorted(grouped.items())}
