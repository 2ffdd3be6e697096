"""What is counted as understood, the sentences that are spoken for it, and the command."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_federation import features_of_tests, shaken, small_corpus, tiny_model, tiny_recipe

from client.cloning import voice_of_nobody
from client.profile import VoiceProfile, save_profile
from server.checkpoints import Checkpoint, save_checkpoint
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.reading import Wave, write_audio
from shared_models.base_model import load_base
from shared_models.errors import TextError
from shared_models.text.pieces import SENTENCE_PAUSE, split_text
from shared_models.utterance import Utterance
from shared_models.vocoders import build_vocoder
from simulations import cli
from simulations.benchmarks.speaking import Speaker, measure_speaking, speak
from simulations.corpora.embedded import ROOT
from simulations.evaluation.intelligibility import (
    LONG_TEXT,
    SENTENCES,
    SILENCE_SECONDS,
    Sentence,
    as_read,
    compare,
    listen,
    read_sentences,
    read_text,
    understand_recordings,
)

needs_recogniser = pytest.mark.skipif(
    importlib.util.find_spec("moonshine_voice") is None, reason="the recogniser is not installed"
)
needs_jiwer = pytest.mark.skipif(importlib.util.find_spec("jiwer") is None, reason="jiwer is not installed")
WORDS = st.lists(st.sampled_from(["red", "green", "blue", "gray"]), min_size=1, max_size=8)


class Attentive:
    """A recogniser that hears ``words`` whatever is said, and remembers the sound."""

    name = "attentive"

    def __init__(self, words: str) -> None:
        self.words = words
        self.heard: list[Wave] = []

    def transcribe(self, wave: Wave, rate: int) -> str:
        assert rate > 0
        self.heard.append(wave)
        return self.words


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A checkpoint of the tiny model, as if trained."""
    recipe = tiny_recipe(aligner__learn="never")
    model = shaken(tiny_model(recipe))
    checkpoint = Checkpoint(3, model.shared_vector(), model.partition.schema, recipe.model_dump_json())
    return save_checkpoint(tmp_path / "base", checkpoint)


@pytest.fixture
def nobody(base: Path) -> Speaker:
    model = load_base(base).model
    return Speaker(model.model, voice_of_nobody(model), build_vocoder("griffin_lim"))


# What counts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is 9:30.", "it is nine thirty"),
        ("$45", "forty five dollars"),
        ("MISTER SMITH WAS LATE", "Mr. Smith was late."),
        ("The TV", "the T.V."),
        ("Twenty-five", "25"),
        ("the 12th floor", "The twelfth floor!"),
    ],
)
def test_ways_of_writing_the_same_words(one: str, other: str) -> None:
    assert as_read(one) == as_read(other)


@needs_jiwer
def test_every_kind_of_edit_is_counted() -> None:
    said = ["one red house", "two green houses", "three cats", ""]
    found = compare(said, ["one red house today", "two houses", "three bats", "x"])
    assert [clip.errors for clip in found.clips] == [1, 1, 1]
    plain = found.as_json()
    assert (plain["words"], plain["deletions"], plain["insertions"], plain["substitutions"]) == (8, 1, 1, 1)
    assert found.wer == pytest.approx(3 / 8)
    assert [clip.said for clip in found.worst(5)] == ["three cats", "one red house", "two green houses"]
    assert found.worst(1)[0].heard == "three bats"


@needs_jiwer
@given(said=WORDS, heard=WORDS)
def test_edits_account_for_the_difference_in_length(said: list[str], heard: list[str]) -> None:
    (clip,) = compare([" ".join(said)], [" ".join(heard)]).clips
    assert clip.words == len(said)
    assert clip.insertions - clip.deletions == len(heard) - len(said)
    assert clip.errors <= max(len(said), len(heard))
    assert (clip.errors == 0) == (said == heard)


@needs_jiwer
def test_the_interval_surrounds_the_rate_and_shrinks_with_more_clips() -> None:
    said, heard = ["one two three four"] * 4, ["one two three four"] * 3 + ["one two three"]
    few, many = compare(said, heard), compare(said * 10, heard * 10)
    for found in (few, many):
        low, high = found.interval
        assert low <= found.wer == 1 / 16 <= high
    assert many.interval[1] - many.interval[0] < few.interval[1] - few.interval[0]
    assert np.isnan(compare(said[:1], heard[:1]).interval[0])
    assert np.isnan(compare([], []).wer)


def test_clips_are_heard_with_silence_around_them() -> None:
    ear, wave = Attentive("so"), np.ones(100, dtype=np.float32)
    assert listen(ear, wave, 1000) == "so"
    (heard,) = ear.heard
    around = int(1000 * SILENCE_SECONDS)
    assert len(heard) == 100 + 2 * around
    assert heard.sum() == 100
    assert (heard[around:-around] == 1).all()


@needs_jiwer
def test_unreadable_recordings_are_left_out(tmp_path: Path) -> None:
    tone = 0.1 * np.sin(2 * np.pi * 200 * np.arange(8000) / 16000)
    write_audio(tmp_path / "good.wav", tone.astype(np.float32), 16000)
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    recordings = [Utterance(n, "s", tmp_path / f"{n}.wav", "hello there") for n in ("bad", "good")]
    found = understand_recordings(recordings, Attentive("hello"))
    assert [(clip.words, clip.deletions) for clip in found.clips] == [(2, 1)]


# What is spoken


def test_a_hundred_sentences_of_every_sort() -> None:
    sentences = read_sentences(SENTENCES)
    texts = [sentence.text for sentence in sentences]
    assert len(set(texts)) == len(texts) == 100
    assert sum(" " not in text for text in texts) >= 12
    assert sum(text.endswith("?") and " " in text for text in texts) >= 10
    assert sum(any(c.isdigit() for c in text) for text in texts) >= 10
    assert sum(bool(re.search(r"\b(Dr|Mr|Mrs|St|Prof|Capt|Sgt|etc|a\.m)\.", text)) for text in texts) >= 6
    assert sum(len(text.split()) > 30 for text in texts) >= 10


def test_the_front_end_reads_them_as_people_do() -> None:
    """Readings are written by hand, so this is a test of the front end as well."""
    for sentence in read_sentences(SENTENCES):
        assert not any(c.isdigit() for c in sentence.reading)
        assert as_read(sentence.text) == as_read(sentence.reading)


def test_the_long_text_takes_about_ten_minutes() -> None:
    text = read_text(LONG_TEXT)
    assert 1500 <= len(text.split()) <= 2000
    assert not any(c.isdigit() for c in text)
    assert len(split_text(text)) > 80


def test_nothing_is_in_the_embedded_corpus() -> None:
    with (ROOT / "metadata.csv").open(encoding="utf-8", newline="") as table:
        known = {as_read(row["text"]) for row in csv.DictReader(table)}
    own = [sentence.text for sentence in read_sentences(SENTENCES)]
    own += [piece.text for piece in split_text(read_text(LONG_TEXT))]
    assert known.isdisjoint(as_read(text) for text in own)


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"...\n", b"\xff\xfe"])
def test_a_file_without_sentences(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    with pytest.raises(TextError, match=r"empty\.txt"):
        read_sentences(path)


# Speaking


def test_what_is_spoken_is_cut_at_sentences_and_nowhere_else(nobody: Speaker) -> None:
    long = next(s.text for s in read_sentences(SENTENCES) if len(split_text(s.text)) > 1)
    speech = speak(nobody, f"One. {long} Two.")
    assert [as_read(text) for text, _ in speech.parts] == [as_read(t) for t in ("One.", long, "Two.")]
    pause = int(SENTENCE_PAUSE * SAMPLE_RATE)
    first, last = speech.parts[0][1], speech.parts[-1][1]
    assert not first[-pause:].any()
    assert last[-pause:].any()
    assert 0 < speech.seconds_to_first_audio < speech.seconds_taken
    assert len(speech.wave) == pytest.approx(speech.seconds * SAMPLE_RATE)


@needs_jiwer
def test_readings_and_sound_reach_the_recogniser(nobody: Speaker, tmp_path: Path) -> None:
    ear = Attentive("five")
    threads = torch.get_num_threads()
    found = measure_speaking(
        nobody,
        [Sentence("5!", "five"), Sentence("No.", "no")],
        "So. Long.",
        [],
        recogniser=ear,
        audio=tmp_path,
    )
    assert torch.get_num_threads() == threads
    assert [clip.wer for clip in found.sentences.clips] == [0, 1]
    assert len(found.long_text.clips) == 2
    assert np.isnan(found.real.wer)
    assert found.first_audio["median"] <= found.first_audio["worst"]
    assert sorted(p.name for p in tmp_path.glob("*.wav")) == [
        "long-text.wav", "sentence-001.wav", "sentence-002.wav"
    ]  # fmt: skip


@pytest.mark.slow
@needs_recogniser
@needs_jiwer
def test_the_command(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    corpus = small_corpus(tmp_path / "corpus", train=1, test=1)
    loaded = load_base(base)
    save_profile(
        tmp_path / "v.safetensors", VoiceProfile(voice_of_nobody(loaded.model), loaded.hash, "nobody")
    )
    (tmp_path / "few.txt").write_text("Hello.\nAt 9:30. | at nine thirty\n")
    (tmp_path / "long.txt").write_text("It rained. Then it stopped.\n")
    arguments = [
        "bench", "speaking", "--base", base, "--vocoder", "griffin_lim", "--sentences", tmp_path / "few.txt",
        "--long-text", tmp_path / "long.txt", "--corpus", corpus, "--limit", 1,
    ]  # fmt: skip
    assert cli.run([str(a) for a in [*arguments, "--voice", tmp_path / "v.safetensors", "--json"]]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sentences"]["clips"], found["sentences"]["words"]) == (2, 4)
    assert found["long_text"]["clips"] == 2
    assert found["all_text"]["clips"] == found["sentences"]["clips"] + 2
    assert found["all_text"]["words"] == found["sentences"]["words"] + found["long_text"]["words"]
    assert found["real"]["clips"] == 1
    assert 0 <= found["real"]["wer"] < 1
    assert found["real_time_factor"] > 0
    assert cli.run([str(a) for a in arguments]) == 0
    shown = capsys.readouterr().out
    assert "real recordings" in shown
    assert "first audio after" in shown
