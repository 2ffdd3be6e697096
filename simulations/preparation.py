"""From a corpus to what a run needs: usable speakers, computed features, and a home for every device."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from client.home.device import Device
from shared_models.audio.cache import FeatureCache, extract_all
from shared_models.config import Recipe
from shared_models.errors import CorpusError
from shared_models.features import Features
from shared_models.file_names import file_name_of
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus

Speakers = Mapping[str, Sequence[Utterance]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A corpus made ready: every utterance listed here has features in the cache."""

    recipe: Recipe
    """With everything that 'auto' stood for resolved."""
    train: dict[str, list[Utterance]]
    test: dict[str, list[Utterance]]
    left_out: list[tuple[str, str]]
    """Utterance and why it is not used."""
    cache: Path


def default_cache() -> Path:
    """Where features are kept between runs: ``$FEDVOICE_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("FEDVOICE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fedvoice" / "features"


def prepare(
    recipe: Recipe, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Prepared:
    """Open the recipe's corpus and compute its features. Raises :class:`CorpusError`."""
    cache = (cache or default_cache()).resolve()
    corpus = open_corpus(recipe.corpus)
    wanted = [
        u for u in corpus.utterances if u.split == "test" or fnmatchcase(u.speaker_id, recipe.corpus.only)
    ]
    workers = recipe.engine.workers or os.cpu_count() or 1
    found, unusable = extract_all(
        wanted, recipe.features, FeatureCache(cache), workers=workers, progress=progress
    )
    left_out = [(str(p.path), p.reason) for p in corpus.problems] + unusable
    train = _usable(corpus.speakers("train"), found, least=2)
    test = _usable(corpus.speakers("test"), found, least=recipe.cloning.support + 1)
    if len(train) < 2:
        raise CorpusError(
            f"the corpus {recipe.corpus.path} has {len(train)} usable train speaker(s) and a federation needs at "
            "least 2: see `fedvoice corpus inspect` for what was left out"
        )
    return Prepared(resolve(recipe, found, len(train)), train, test, left_out, cache)


def prepare_unseen(
    recipe: Recipe, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Prepared:
    """The unseen speakers alone, for judging a finished run. Raises :class:`CorpusError` if there are none."""
    cache = (cache or default_cache()).resolve()
    corpus = open_corpus(recipe.corpus)
    test = corpus.speakers("test")
    found, unusable = extract_all(
        [u for utterances in test.values() for u in utterances], recipe.features, FeatureCache(cache),
        workers=recipe.engine.workers or os.cpu_count() or 1, progress=progress,
    )  # fmt: skip
    usable = _usable(test, found, least=recipe.cloning.support + 1)
    if not usable:
        raise CorpusError(
            f"the corpus {recipe.corpus.path} has no unseen speaker with {recipe.cloning.support + 1} usable "
            "utterances: mark whole speakers as test in its table (split = test)"
        )
    left_out = [(str(p.path), p.reason) for p in corpus.problems] + unusable
    resolved = resolve(recipe.override({"aligner.learn": "auto"}), found, recipe.federation.cohort)
    return Prepared(resolved, {}, usable, left_out, cache)


def resolve(recipe: Recipe, features: Mapping[str, Features], clients: int) -> Recipe:
    """Replace what the recipe left to the data: whether to learn alignments, the cohort's upper bound."""
    changes: dict[str, object] = {}
    if recipe.aligner.learn == "auto":
        aligned = all(f.durations is not None for f in features.values())
        changes |= {"aligner.learn": "never"} if aligned else {"aligner.learn": "always"}
    if recipe.federation.cohort > clients:
        changes["federation.cohort"] = clients
    resolved = recipe.override(changes)
    if resolved.aligner.learn == "never":
        resolved = resolved.override({"aligner.warmup_rounds": 0})
    return resolved


def make_devices(root: Path, speakers: Speakers, cache: Path) -> Path:
    """A device home for every speaker under ``root``, in the speakers' order; existing state is kept."""
    width = len(str(len(speakers)))
    for index, (speaker, recordings) in enumerate(speakers.items()):
        # The number first: clients find their device by its place in the sorted list.
        home = root / f"{index:0{width}d}-{file_name_of(speaker)}"
        if not (home / "recordings.json").exists():
            Device.create(home, speaker, recordings, cache)
    return root


def _usable(speakers: Speakers, found: Mapping[str, Features], least: int) -> dict[str, list[Utterance]]:
    kept = {s: [u for u in utterances if u.utterance_id in found] for s, utterances in speakers.items()}
    return {s: utterances for s, utterances in sorted(kept.items()) if len(utterances) >= least}
