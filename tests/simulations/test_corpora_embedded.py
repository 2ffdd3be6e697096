"""The embedded pack: what ships with FedVoice, and how it is chosen."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from shared_models.config import CorpusConfig
from shared_models.text.phonemes import phonemize
from simulations.corpora import open_corpus
from simulations.corpora.embedded import ROOT
from simulations.corpora.pack import BUDGET, make_pack, pack_size


def test_enough_voices_and_small_enough() -> None:
    corpus = open_corpus(CorpusConfig())
    train, test = corpus.speakers("train"), corpus.speakers("test")
    assert len(train) >= 40
    assert len(test) == 6
    assert not set(train) & set(test)
    assert min(len(said) for said in [*train.values(), *test.values()]) >= 12
    for said in test.values():
        roles = Counter(u.role for u in said)
        assert roles["support"] == 5
        assert roles["query"] >= 7
    assert not corpus.problems
    assert pack_size() <= BUDGET == 16 * 2**20


def test_no_test_voice_is_mixed_into_a_train_voice() -> None:
    corpus = open_corpus(CorpusConfig())
    plain = [s.removeprefix("k_") for s in corpus.speakers("test") if s.startswith("k_")]
    mixed = [s for s in corpus.speakers("train") if s.startswith("kmix_")]
    assert plain
    assert mixed
    assert not [(p, m) for p in plain for m in mixed if p in m]


def test_every_file_decodes_with_the_stated_length() -> None:
    for utterance in open_corpus(CorpusConfig()).utterances:
        samples, rate = soundfile.read(utterance.audio)
        assert rate == 24000
        assert samples.ndim == 1
        assert len(samples) / rate == pytest.approx(utterance.seconds, abs=1e-3)


def test_every_text_has_phonemes() -> None:
    assert all(len(phonemize(u.text)) > 10 for u in open_corpus(CorpusConfig()).utterances)


def test_the_table_lists_every_file_and_the_source_is_named() -> None:
    rows = list(csv.DictReader((ROOT / "metadata.csv").open(encoding="utf-8")))
    listed = {row["path"] for row in rows} | {row["alignment"] for row in rows if row["alignment"]}
    there = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("*/*")}
    assert listed == there
    attribution = (ROOT / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "Kokoro-82M" in attribution
    assert "Apache License, version 2.0" in attribution


def test_a_pack_carries_alignments_and_drops_old_voices(tmp_path: Path) -> None:
    first = next(iter(open_corpus(CorpusConfig()).speakers("train").values()))[0]
    alignments, target = tmp_path / "alignments", tmp_path / "pack"
    alignments.mkdir()
    (alignments / f"{first.utterance_id}.phones").write_text("0.0\t1.0\tsil\n")
    (target / "old_voice").mkdir(parents=True)
    assert make_pack(ROOT, target, alignments) <= BUDGET
    packed = {u.utterance_id: u for u in open_corpus(CorpusConfig(path=str(target))).utterances}
    aligned = packed[first.utterance_id].alignment
    assert aligned is not None
    assert aligned.read_text() == "0.0\t1.0\tsil\n"
    assert not (target / "old_voice").exists()


@pytest.mark.realspeech
@pytest.mark.slow
def test_the_pack_is_what_its_source_gives(kokoro_path: Path, tmp_path: Path) -> None:
    make_pack(kokoro_path, tmp_path)
    for path in tmp_path.rglob("*.ogg"):
        assert path.read_bytes() == (ROOT / path.relative_to(tmp_path)).read_bytes()
    assert len(list(tmp_path.rglob("*.ogg"))) == len(list(ROOT.rglob("*.ogg")))
