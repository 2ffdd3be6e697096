"""Whom cloning is judged on: unseen speakers, and what each of their recordings is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_models.audio.cache import FeatureCache, extract_all
from shared_models.audio.extraction import SHORTEST_SECONDS
from shared_models.config import CorpusConfig, FeatureConfig
from shared_models.errors import CorpusError
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus
from simulations.corpora.limits import spread

REFERENCES = 10
"""Other recordings at most, whose centroid a person's voice is."""
_LONGEST = 60.0


@dataclass(frozen=True, slots=True)
class Person:
    """One unseen speaker. No recording serves two purposes, so that no text or room is met again."""

    name: str
    corpus: str
    support: tuple[Utterance, ...]
    """What the voice is cloned from."""
    query: tuple[Utterance, ...]
    """Whose texts are spoken."""
    others: tuple[Utterance, ...]
    """What the person's voice is known by."""

    @property
    def content(self) -> list[Any]:
        """What the figures depend on, as plain data."""
        parts = (self.support, self.query, self.others)
        return [
            [(u.utterance_id, u.text, u.audio.stat().st_size, u.alignment is not None) for u in part]
            for part in parts
        ]


@dataclass(frozen=True, slots=True)
class Material:
    """All people, and why recordings or whole speakers are left out."""

    people: tuple[Person, ...]
    left_out: tuple[str, ...]


def choose_material(
    corpora: Sequence[str],
    features: FeatureConfig,
    cache: Path,
    *,
    support: int,
    sentences: int,
    speakers: int | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Material:
    """The test speakers of ``corpora``, at most ``speakers`` of each, evenly spread; what is unusable is left out.

    Raises :class:`CorpusError` for fewer than two people, between whom nobody could be identified, and for a
    speaker's name that two corpora share.
    """
    found = {
        (Path(corpus).name, name): own
        for corpus in corpora
        for name, own in _unseen(corpus, speakers).items()
    }
    names = [name for _, name in found]
    if shared := sorted({name for name in names if names.count(name) > 1}):
        raise CorpusError(f"two corpora have a speaker '{shared[0]}': rename one of them in its table")
    wanted = {key: _enough(own, support, sentences) for key, own in found.items()}
    usable, problems = extract_all(
        [u for own in wanted.values() for u in own], features, FeatureCache(cache),
        workers=workers, progress=progress,
    )  # fmt: skip
    people, left_out = [], [reason for _, reason in problems]
    for (corpus, name), own in wanted.items():
        person = _person(name, corpus, [u for u in own if u.utterance_id in usable], support, sentences)
        if person is None:
            left_out.append(f"{name} has fewer than {support + sentences + 1} usable recordings")
        else:
            people.append(person)
    if len(people) < 2:
        reason = f" ({left_out[0]})" if left_out else ""
        raise CorpusError(
            f"{', '.join(corpora)}: {len(people)} unseen speaker(s) with {support + sentences + 1} usable recordings"
            f"{reason}, and it takes two to tell one from another: mark whole speakers as test in the table "
            "(split = test)"
        )
    return Material(tuple(people), tuple(left_out))


def _unseen(corpus: str, speakers: int | None) -> Mapping[str, Sequence[Utterance]]:
    # Limits on length are for training; what is measured is every recording.
    config = CorpusConfig(
        path=corpus, test_speakers=speakers, min_seconds=SHORTEST_SECONDS, max_seconds=_LONGEST
    )
    return open_corpus(config).speakers("test")


def _enough(own: Sequence[Utterance], support: int, sentences: int) -> list[Utterance]:
    """The support, and of the rest as many as are needed, evenly spread."""
    ordered = _support_first(own)
    return ordered[:support] + spread(ordered[support:], sentences + REFERENCES)


def _person(
    name: str, corpus: str, usable: Sequence[Utterance], support: int, sentences: int
) -> Person | None:
    if len(usable) < support + sentences + 1:
        return None
    rest = usable[support:]
    query = spread(rest, sentences)
    others = [u for u in rest if u not in query]
    return Person(name, corpus, tuple(usable[:support]), tuple(query), tuple(others))


def _support_first(own: Sequence[Utterance]) -> list[Utterance]:
    return sorted(own, key=lambda u: u.role != "support")
