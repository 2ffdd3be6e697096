"""Corpora: every layout on a tiny tree, splits, limits, and the errors of a corpus as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from shared_models.config import CorpusConfig
from shared_models.errors import CorpusError
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus, recognise
from simulations.corpora.limits import spread
from simulations.corpora.splits import give_roles, hold_out


def _wave(path: Path, seconds: float = 1.0, rate: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = abs(hash(path.name)) % 2**32
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, int(rate * seconds)), rate)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _vctk(root: Path) -> None:
    for speaker in ("p225", "p226", "p228"):
        for number in (1, 2):
            name = f"{speaker}_{number:03d}"
            for microphone in ("mic1", "mic2"):
                _wave(root / "wav48_silence_trimmed" / speaker / f"{name}_{microphone}.flac", rate=48000)
            _text(root / "txt" / speaker / f"{name}.txt", "Please call Stella.\n")
    _wave(root / "wav48_silence_trimmed" / "p315" / "p315_001_mic1.flac")


def _libritts(root: Path) -> None:
    for subset, speakers in (("train-clean-100", (19, 26)), ("test-clean", (61,))):
        for speaker in speakers:
            for number in range(7):
                stem = root / subset / str(speaker) / "198" / f"{speaker}_198_000000_{number:06d}"
                _wave(stem.with_suffix(".wav"), rate=24000)
                _text(stem.with_suffix(".normalized.txt"), "a normalised text")
                _text(stem.with_suffix(".original.txt"), "An original text.")


def _aishell3(root: Path) -> None:
    for part, speakers in (("train", ("SSB0005", "SSB0009")), ("test", ("SSB0012",))):
        lines = []
        for speaker in speakers:
            for number in (1, 2):
                name = f"{speaker}{number:04d}.wav"
                _wave(root / part / "wav" / speaker / name, rate=44100)
                lines.append(f"{name}\t你 ni3 好 hao3")
        lines.append(f"{speakers[0]}9999.wav\t没 mei2")
        _text(root / part / "content.txt", "\n".join(lines))


def _folder(root: Path, speakers: int, utterances: int = 7) -> None:
    for speaker in range(speakers):
        for number in range(utterances):
            stem = root / f"s{speaker:02d}" / f"u{number}"
            _wave(stem.with_suffix(".wav"))
            _text(stem.with_suffix(".txt"), "some words")


def test_vctk(tmp_path: Path) -> None:
    _vctk(tmp_path)
    corpus = open_corpus(CorpusConfig(path=str(tmp_path)))
    assert recognise(tmp_path) == "vctk"
    assert sorted({u.speaker_id for u in corpus.utterances}) == ["p225", "p226", "p228"]
    assert {u.audio.name.rsplit("_", 1)[1] for u in corpus.utterances} == {"mic1.flac"}
    assert corpus.utterances[0].text == "Please call Stella."
    assert corpus.utterances[0].seconds == pytest.approx(1.0)
    assert [p.path.name for p in corpus.problems] == ["p315_001_mic1.flac"]


@pytest.mark.parametrize("layout", ["mic2", "wav", "WAV", "0.80"])
def test_vctk_as_people_keep_it(tmp_path: Path, layout: str) -> None:
    folder = "wav48" if layout == "0.80" else "wav48_silence_trimmed"
    ending = {"mic2": "_mic2.flac", "wav": "_mic1.wav", "WAV": "_mic1.WAV", "0.80": ".wav"}[layout]
    for speaker in ("p225", "p226", "p228"):
        for number in (1, 2):
            name = f"{speaker}_{number:03d}"
            _wave(tmp_path / folder / speaker / f"{name}{ending}", rate=48000)
            _text(tmp_path / "txt" / speaker / f"{name}.txt", "Please call Stella.\n")
    corpus = open_corpus(CorpusConfig(path=str(tmp_path)))
    assert recognise(tmp_path) == "vctk"
    assert {u.utterance_id for u in corpus.utterances} == {
        f"p{s}_00{n}" for s in (225, 226, 228) for n in (1, 2)
    }
    assert not corpus.problems


def test_libritts_and_one_of_its_subsets(tmp_path: Path) -> None:
    _libritts(tmp_path)
    assert recognise(tmp_path) == recognise(tmp_path / "train-clean-100") == "libritts"
    corpus = open_corpus(CorpusConfig(path=str(tmp_path)))
    assert {s: len(u) for s, u in corpus.speakers("train").items()} == {"19": 7, "26": 7}
    assert [u.role for u in corpus.speakers("test")["61"]] == ["support"] * 5 + ["query"] * 2
    assert {u.text for u in corpus.utterances} == {"a normalised text"}
    alone = open_corpus(CorpusConfig(path=str(tmp_path / "train-clean-100")))
    assert len(alone.speakers("train")) == 2


def test_aishell3(tmp_path: Path) -> None:
    _aishell3(tmp_path)
    corpus = open_corpus(CorpusConfig(path=str(tmp_path)))
    assert recognise(tmp_path) == "aishell3"
    assert {(u.text, u.language) for u in corpus.utterances} == {("你好", "zh")}
    assert list(corpus.speakers("train")) == ["SSB0005", "SSB0009"]
    assert list(corpus.speakers("test")) == ["SSB0012"]
    assert len(corpus.problems) == 2


def test_a_folder_is_split_by_speakers_and_damage_is_left_out(tmp_path: Path) -> None:
    _folder(tmp_path, speakers=7)
    (tmp_path / "s00" / "u0.wav").write_bytes(b"RIFF, but not really")
    _wave(tmp_path / "s01" / "u1.wav", seconds=0.2)
    corpus = open_corpus(CorpusConfig(path=str(tmp_path)))
    train, test = corpus.speakers("train"), corpus.speakers("test")
    assert (len(train), len(test)) == (5, 2)
    assert not set(train) & set(test)
    assert {p.path.name: p.reason[:9] for p in corpus.problems} == {
        "u0.wav": "unreadabl",
        "u1.wav": "too short",
    }
    assert open_corpus(CorpusConfig(path=str(tmp_path))) == corpus


def test_limits(tmp_path: Path) -> None:
    _folder(tmp_path, speakers=8)
    config = CorpusConfig(path=str(tmp_path), speakers=3, test_speakers=1, utterances=4)
    corpus = open_corpus(config)
    assert [len(u) for u in corpus.speakers("train").values()] == [4, 4, 4]
    assert [len(u) for u in corpus.speakers("test").values()] == [7]


def test_one_speaker_or_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no usable recordings"):
        open_corpus(CorpusConfig(path=str(tmp_path)))
    _folder(tmp_path, speakers=1)
    with pytest.raises(CorpusError, match="only one usable speaker"):
        open_corpus(CorpusConfig(path=str(tmp_path)))
    with pytest.raises(CorpusError, match="there is no corpus at"):
        open_corpus(CorpusConfig(path=str(tmp_path / "gone")))


def test_a_speaker_in_both_splits_is_refused(tmp_path: Path) -> None:
    rows = [f"{s}{n}.wav,hello,{s},{'test' if s + str(n) == 'a1' else 'train'}" for s in "ab" for n in (0, 1)]
    for name in ("a0", "a1", "b0", "b1"):
        _wave(tmp_path / f"{name}.wav")
    _text(tmp_path / "metadata.csv", "\n".join(["path,text,speaker_id,split", *rows]))
    with pytest.raises(CorpusError, match="'a' is in both splits"):
        open_corpus(CorpusConfig(path=str(tmp_path)))


@given(count=st.integers(1, 200))
def test_held_out_speakers(count: int) -> None:
    said = [Utterance(f"{s}-{n}", f"s{s}", Path("x.wav"), "hi") for s in range(count) for n in range(2)]
    split = give_roles(hold_out(said))
    test = {u.speaker_id for u in split if u.split == "test"}
    train = {u.speaker_id for u in split if u.split == "train"}
    assert not test & train
    assert len(test) + len(train) == count
    assert len(test) == (max(2 if count >= 6 else 1, round(count / 10)) if count >= 3 else 0)
    assert {u.role for u in split if u.split == "train"} <= {"train"}


@given(size=st.integers(1, 100), count=st.integers(1, 100))
def test_spread_takes_distinct_items_in_order(size: int, count: int) -> None:
    taken = spread(range(size), count)
    assert len(taken) == min(size, count)
    assert taken == sorted(set(taken))


@pytest.mark.realspeech
def test_the_real_corpus_keeps_its_own_split(speech_path: Path) -> None:
    corpus = open_corpus(CorpusConfig(path=str(speech_path), max_seconds=30))
    assert len(corpus.utterances) == 4468
    assert (len(corpus.speakers("train")), len(corpus.speakers("test"))) == (122, 16)
    assert all([u.role for u in said[:5]] == ["support"] * 5 for said in corpus.speakers("test").values())
    assert not corpus.problems
