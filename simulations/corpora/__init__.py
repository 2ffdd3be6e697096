"""Corpora: where speakers come from. Each layout is a file of its own; :func:`open_corpus` picks one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from client.home.recordings import Problem, Recordings, find_recordings
from shared_models.config import CorpusConfig
from shared_models.errors import CorpusError
from shared_models.utterance import Utterance
from simulations.corpora import aishell3, embedded, libritts, vctk
from simulations.corpora.corpus import Corpus
from simulations.corpora.limits import apply_counts, apply_lengths, measure
from simulations.corpora.splits import give_roles, hold_out

__all__ = ["Corpus", "Problem", "choose", "find_corpus", "open_corpus", "recognise"]

Layout = Literal["embedded", "csv", "folder", "ljspeech", "vctk", "libritts", "aishell3"]


def open_corpus(config: CorpusConfig) -> Corpus:
    """The corpus that a recipe names, split and cut down to the recipe's limits.

    A recording that cannot be used is in ``problems`` and never ends a run. Raises :class:`CorpusError`
    for a path that is missing, and for fewer than two usable train speakers.
    """
    root, found = find_corpus(config)
    utterances, problems = choose(found, config)
    corpus = Corpus(root.name, root, tuple(utterances), (*found.problems, *problems))
    _check(corpus, config)
    return corpus


def choose(found: Recordings, config: CorpusConfig) -> tuple[list[Utterance], list[Problem]]:
    """What a run reads of the recordings that were found, split and cut down to its limits; and why not the rest.

    Of these, those are used whose features can be computed (:func:`shared_models.audio.extraction.require_usable`).
    """
    measured, unreadable = measure(found.utterances)
    fitting, lengths = apply_lengths(measured, config)
    split = fitting if found.states_split else hold_out(fitting)
    return apply_counts(give_roles(split), config), [*unreadable, *lengths]


def find_corpus(config: CorpusConfig) -> tuple[Path, Recordings]:
    """Where the corpus is, and everything that its layout finds there, before any split or limit."""
    if config.path == "embedded" or config.layout == "embedded":
        return embedded.ROOT, find_recordings(embedded.ROOT, layout="csv")
    root = Path(config.path).expanduser().absolute()
    if not root.exists():
        raise CorpusError(f"there is no corpus at {config.path}; check the path, or say 'embedded'")
    match recognise(root) if config.layout == "auto" else config.layout:
        case "csv":
            return root, find_recordings(root, layout="csv")
        case "ljspeech":
            return root, find_recordings(root, layout="ljspeech")
        case "folder":
            return root, find_recordings(root, layout="folder")
        case "vctk":
            return root, vctk.find(root)
        case "libritts":
            return root, libritts.find(root)
        case "aishell3":
            return root, aishell3.find(root)
    raise CorpusError(f"the layout {config.layout!r} is not for a path; leave it at 'auto'")


def recognise(root: Path) -> Layout:
    """The layout at ``root``, by the files that only it has; a plain folder where nothing tells."""
    from client.home.recordings import TABLE_NAME, has_no_header

    table = root if root.is_file() else root / TABLE_NAME
    if table.is_file():
        return "ljspeech" if has_no_header(table) else "csv"
    if vctk.recognises(root):
        return "vctk"
    if aishell3.recognises(root):
        return "aishell3"
    return "libritts" if libritts.recognises(root) else "folder"


def _check(corpus: Corpus, config: CorpusConfig) -> None:
    speakers = {u.speaker_id for u in corpus.utterances}
    if len(speakers) >= 2:
        return
    left_out = ""
    if corpus.problems:
        first = corpus.problems[0]
        left_out = (
            f" ({len(corpus.problems)} were left out, the first, {first.path.name}, for: {first.reason})"
        )
    count = "only one usable speaker" if speakers else "no usable recordings"
    raise CorpusError(
        f"the corpus {config.path} has {count}{left_out}, and a federation needs at least two speakers: see "
        "`fedvoice corpus inspect`"
    )
