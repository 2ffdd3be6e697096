"""Which speakers play the devices' owners, and their recordings as an owner would hand them over."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from client.live.voice import LEAST_UTTERANCES
from shared_models.audio.cache import FeatureCache, extract_all
from shared_models.config import Recipe, parse_override
from shared_models.errors import CorpusError
from shared_models.file_names import file_name_of
from shared_models.files import write_atomically
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus
from simulations.corpora.limits import spread
from simulations.environment import usable_cores
from simulations.preparation import Prepared, default_cache, resolve

_COLUMNS = ("path", "text", "speaker_id", "utterance_id", "language", "alignment")


@dataclass(frozen=True, slots=True)
class Voice:
    """One device's owner."""

    speaker: str
    table: Path
    """A CSV with the recordings, for ``fedvoice join --voice``."""


def rehearsal_changes(devices: int, rounds: int | None, corpus: str | None = None) -> list[str]:
    """What ``--set`` makes of any recipe so that so many devices, all of them in every round, can run it."""
    changes = [
        f"federation.cohort={devices}",
        f"federation.quorum={devices}",
        f"federation.minimum_cohort={min(4, devices)}",
        "federation.sampling=fixed",
        "arms={}",
    ]
    if rounds is not None:
        changes.append(f"federation.rounds={rounds}")
    if corpus is not None:
        path = corpus if corpus == "embedded" else str(Path(corpus).resolve())
        changes += ["corpus.only=*", f"corpus.path={path}"]
    return changes


def resolved_changes(recipe: Recipe, prepared: Prepared) -> list[str]:
    """What the corpus decided and a server without one cannot know, as further ``--set``.

    The quorum counts devices that are drawn, so that with a partial cohort all are waited for when it is the cohort.
    """
    found = prepared.recipe
    quorum = recipe.federation.quorum
    fields = {
        "aligner.learn": (recipe.aligner.learn, found.aligner.learn),
        "aligner.warmup_rounds": (recipe.aligner.warmup_rounds, found.aligner.warmup_rounds),
        "federation.cohort": (recipe.federation.cohort, found.federation.cohort),
        "federation.quorum": (quorum, min(quorum, found.federation.cohort)),
    }
    return [f"{name}={after}" for name, (before, after) in fields.items() if before != after]


def choose_speakers(
    recipe: Recipe,
    devices: int,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Train speakers of the recipe's corpus, one for each device. Raises :class:`CorpusError`."""
    cache = (cache or default_cache()).resolve()
    speakers = {
        speaker: utterances
        for speaker, utterances in open_corpus(recipe.corpus).speakers("train").items()
        if fnmatchcase(speaker, recipe.corpus.only) and len(utterances) >= LEAST_UTTERANCES
    }
    chosen = spread(sorted(speakers), devices)
    if len(chosen) < devices:
        raise CorpusError(
            f"the corpus {recipe.corpus.path} has {len(chosen)} usable train speakers and each of {devices} devices "
            "needs one of its own: lower --devices"
        )
    wanted = [utterance for speaker in chosen for utterance in speakers[speaker]]
    workers = recipe.engine.workers or usable_cores()
    found, unusable = extract_all(
        wanted, recipe.features, FeatureCache(cache), workers=workers, progress=progress
    )
    train = {s: [u for u in speakers[s] if u.utterance_id in found] for s in chosen}
    for speaker, utterances in train.items():
        if len(utterances) < LEAST_UTTERANCES:
            raise CorpusError(f"{speaker} has {len(utterances)} usable recordings: leave the speaker out")
    return Prepared(resolve(recipe, found, devices), train, {}, unusable, cache)


def write_voices(folder: Path, prepared: Prepared) -> list[Voice]:
    """A table of each speaker's recordings in ``folder``, in the order of the simulation's clients."""
    return [
        Voice(speaker, _write_table(folder / f"{file_name_of(speaker)}.csv", recordings))
        for speaker, recordings in prepared.train.items()
    ]


def applied(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with ``a.b=c`` changes."""
    return recipe.override(dict(parse_override(text) for text in changes))


def _write_table(path: Path, recordings: Sequence[Utterance]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for recording in recordings:
        alignment = "" if recording.alignment is None else str(recording.alignment.resolve())
        writer.writerow(
            [recording.audio.resolve(), recording.text, recording.speaker_id, recording.utterance_id,
             recording.language, alignment]
        )  # fmt: skip
    write_atomically(path, text.getvalue())
    return path
