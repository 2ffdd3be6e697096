"""Joins corpora into one table: ``fedvoice corpus join A B --output both.csv``.

The table names the recordings where they are, so nothing is copied; splits and roles stay as they were.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from shared_models.config import CorpusConfig
from shared_models.errors import CorpusError
from shared_models.file_names import file_name_of
from shared_models.files import write_atomically
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus

COLUMNS = ("path", "text", "speaker_id", "utterance_id", "split", "role", "language", "seconds", "alignment")


def join_corpora(corpora: Sequence[CorpusConfig], table: Path, alignments: Path | None = None) -> int:
    """Write the table of all ``corpora`` and return how many utterances it has.

    ``alignments`` is a folder of ``<utterance_id>.phones`` files, as ``simulations.corpora.align`` writes them;
    they take precedence over a corpus's own. Raises :class:`CorpusError` for an utterance or a speaker that two
    corpora have.
    """
    rows: dict[str, Utterance] = {}
    owners: dict[str, str] = {}
    for config in corpora:
        for utterance in open_corpus(config).utterances:
            _refuse_second(utterance, config.path, rows, owners)
            rows[utterance.utterance_id] = utterance
    lines = StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(utterance, alignments) for utterance in rows.values())
    write_atomically(table, lines.getvalue().encode())
    return len(rows)


def _refuse_second(
    utterance: Utterance, path: str, rows: dict[str, Utterance], owners: dict[str, str]
) -> None:
    if utterance.utterance_id in rows:
        raise CorpusError(
            f"utterance {utterance.utterance_id!r} of {path} is in another corpus too: join each corpus once"
        )
    if owners.setdefault(utterance.speaker_id, path) != path:
        raise CorpusError(
            f"speaker {utterance.speaker_id!r} is in {owners[utterance.speaker_id]} and in {path}: rename one of them"
        )


def _row(utterance: Utterance, alignments: Path | None) -> tuple[object, ...]:
    own = alignments / f"{file_name_of(utterance.utterance_id)}.phones" if alignments is not None else None
    aligned = own if own is not None and own.is_file() else utterance.alignment
    return (
        utterance.audio.resolve(), utterance.text, utterance.speaker_id, utterance.utterance_id, utterance.split,
        utterance.role, utterance.language, f"{utterance.seconds or 0.0:.3f}", aligned.resolve() if aligned else "",
    )  # fmt: skip
