"""Synthetic speakers: sound, text and phoneme times that belong together."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import soundfile

from shared_models.audio.alignment import read_alignment
from shared_models.config import CorpusConfig
from shared_models.errors import CorpusError, MissingExtraError
from simulations.corpora import open_corpus
from simulations.corpora.espeak import VARIANTS, make_corpus, make_speakers
from simulations.corpora.sentences import make_sentences


def test_sentences_are_distinct_and_repeat_with_their_seed() -> None:
    made = make_sentences(500, seed=1)
    assert len(set(made)) == 500
    assert made == make_sentences(500, seed=1)
    assert made != make_sentences(500, seed=2)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 50, 150])
def test_no_variant_is_in_both_splits(count: int) -> None:
    speakers = make_speakers(count)
    assert len({s.speaker_id for s in speakers}) == count
    test = {s.variant for s in speakers if s.test}
    assert not test & {s.variant for s in speakers if not s.test}
    assert len(test) >= (2 if count >= 6 else 1 if count >= 3 else 0)
    assert len(VARIANTS) >= 50


def test_alignments_fill_the_audio_exactly(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    steps = []
    make_corpus(tmp_path / "c", 6, 7, seed=3, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (6, 6)
    corpus = open_corpus(CorpusConfig(path=str(tmp_path / "c")))
    assert (len(corpus.speakers("train")), len(corpus.speakers("test"))) == (4, 2)
    assert len(corpus.utterances) == 42
    marks = set()
    for utterance in corpus.utterances:
        info = soundfile.info(utterance.audio)
        assert info.samplerate == 22050
        assert utterance.alignment is not None
        phones = read_alignment(utterance.alignment)
        assert phones[0].start == 0
        assert phones[-1].end == pytest.approx(info.frames / 22050, abs=1e-5)
        assert all(a.end == pytest.approx(b.start, abs=1e-6) for a, b in pairwise(phones))
        assert sum(p.end - p.start for p in phones if p.symbol != "sil") > 0.8 * phones[-1].end
        assert phones[-1].symbol == "sil"
        assert phones[-2].symbol == utterance.text[-1]
        marks |= {p.symbol for p in phones}
    assert "," in marks


@pytest.mark.slow
def test_a_new_process_makes_the_same_texts_and_times(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    make = "import sys, pathlib; from simulations.corpora.espeak import make_corpus; "
    make += "make_corpus(pathlib.Path(sys.argv[1]), 2, 3, seed=5)"
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", make, str(tmp_path / name)], check=True)
    files = [p for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) == 1 + 2 * 2 * 3
    for path in (p for p in files if p.suffix != ".flac"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CorpusError, match="not an empty folder"):
        make_corpus(tmp_path, 2, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared_models.text.espeak_library import load_espeak

    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    load_espeak.cache_clear()
    with pytest.raises(MissingExtraError, match=r"fedvoice\[espeak\]"):
        make_corpus(tmp_path, 2, 2)
    load_espeak.cache_clear()
