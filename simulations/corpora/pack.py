"""Makes the embedded pack: ``python -m simulations.corpora.pack SOURCE [--alignments DIR]``.

From every voice the shortest utterances (a cheap default run), after the five support utterances that all
voices share in the source's test split. The choice depends on the source alone, so that the pack can be
made again. Audio is copied as it is.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from client.home.recordings import TABLE_NAME
from shared_models.config import CorpusConfig
from shared_models.errors import CorpusError
from shared_models.file_names import file_name_of
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus
from simulations.corpora.embedded import ROOT

BUDGET = 16 * 2**20
"""Bytes that the pack may take."""
UTTERANCES = {"train": 14, "test": 16}
"""Utterances a voice, by split: what leaves room for alignments."""
COLUMNS = ("utterance_id", "speaker_id", "split", "role", "seconds", "text", "path", "alignment")
ALIGNMENT_SUFFIX = ".phones"


def choose(utterances: Sequence[Utterance], count: int) -> list[Utterance]:
    """``count`` utterances of one voice: its support, then its shortest; sorted by id."""
    ranked = sorted(utterances, key=lambda u: (u.role != "support", u.seconds or 0.0, u.utterance_id))
    return sorted(ranked[:count], key=lambda u: u.utterance_id)


def make_pack(source: Path, target: Path = ROOT, alignments: Path | None = None) -> int:
    """Write the pack of ``source`` to ``target`` and return its size in bytes.

    ``alignments`` holds ``<utterance_id>.phones`` files, or ``<speaker_id>/<utterance_id>.phones``. Raises
    :class:`CorpusError` where the pack would be larger than its budget.
    """
    corpus = open_corpus(CorpusConfig(path=str(source)))
    voices = {**corpus.speakers("train"), **corpus.speakers("test")}
    chosen = [u for _, said in sorted(voices.items()) for u in choose(said, UTTERANCES[said[0].split])]
    for old in (path for path in target.iterdir() if path.is_dir()) if target.is_dir() else ():
        shutil.rmtree(old)
    packed = [_copy(utterance, target, alignments) for utterance in chosen]
    _write_table(target, packed)
    size = pack_size(target)
    if size > BUDGET:
        raise CorpusError(f"the pack takes {size} bytes and may take {BUDGET}; lower UTTERANCES")
    return size


def pack_size(target: Path = ROOT) -> int:
    """Bytes of all files of the pack."""
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _copy(utterance: Utterance, target: Path, alignments: Path | None) -> Utterance:
    audio = target / file_name_of(utterance.speaker_id) / utterance.audio.name
    audio.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(utterance.audio, audio)
    aligned = _alignment(utterance, alignments) if alignments else None
    if aligned is not None:
        shutil.copyfile(aligned, audio.with_suffix(ALIGNMENT_SUFFIX))
        aligned = audio.with_suffix(ALIGNMENT_SUFFIX)
    return replace(utterance, audio=audio, alignment=aligned)


def _alignment(utterance: Utterance, alignments: Path) -> Path | None:
    name = file_name_of(utterance.utterance_id) + ALIGNMENT_SUFFIX
    return next(
        (
            p
            for p in (alignments / name, alignments / file_name_of(utterance.speaker_id) / name)
            if p.is_file()
        ),
        None,
    )


def _write_table(target: Path, utterances: Sequence[Utterance]) -> None:
    with (target / TABLE_NAME).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for u in utterances:
            aligned = u.alignment.relative_to(target).as_posix() if u.alignment else ""
            path = u.audio.relative_to(target).as_posix()
            writer.writerow(
                (u.utterance_id, u.speaker_id, u.split, u.role, f"{u.seconds:.3f}", u.text, path, aligned)
            )


def main() -> None:
    """Entry point of ``python -m simulations.corpora.pack``."""
    parser = argparse.ArgumentParser(description="Make the pack of embedded voices.")
    parser.add_argument("source", type=Path, help="the folder with all the voices and their metadata.csv")
    parser.add_argument("--target", type=Path, default=ROOT)
    parser.add_argument("--alignments", type=Path, help="a folder of .phones files")
    arguments = parser.parse_args()
    size = make_pack(arguments.source, arguments.target, arguments.alignments)
    print(f"{arguments.target}: {size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
