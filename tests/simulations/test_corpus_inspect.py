"""``fedvoice corpus``: every kind of damage is found, named, and ends nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from shared_models.errors import CorpusError
from shared_models.recipes import find_recipe
from simulations.commands.corpus import app
from simulations.corpora.inspect import inspect
from simulations.preparation import prepare

RATE = 16000


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Two speakers; one file for every kind of problem."""
    noise = np.random.default_rng(0).normal(0, 0.1, RATE * 2)

    def write(name: str, wave: np.ndarray, text: str = "some words") -> None:
        path = tmp_path / "metadata" / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, wave, RATE)
        path.with_suffix(".txt").write_text(text, encoding="utf-8")

    for speaker in ("a", "b"):
        for number in range(3):
            take = np.random.default_rng([number, ord(speaker)]).normal(0, 0.1, RATE)
            (tmp_path / speaker).mkdir(exist_ok=True)
            soundfile.write(tmp_path / speaker / f"{number}.wav", take, RATE)
            (tmp_path / speaker / f"{number}.txt").write_text("good words")
    write("silent.wav", np.zeros(RATE))
    write("clipped.wav", np.clip(noise * 30, -1, 1))
    write("short.wav", noise[:1000])
    write("long.wav", np.tile(noise, 8))
    write("stereo.wav", np.stack([noise, -0.5 * noise[::-1]], axis=1))
    write("emoji.wav", noise[::-1], "👍")
    write("twin.wav", noise * 0.5)
    write("twin_again.wav", noise * 0.5)
    (tmp_path / "metadata" / "broken.flac").write_bytes(b"fLaC" + b"\0" * 100)
    (tmp_path / "metadata" / "broken.txt").write_text("words")
    soundfile.write(tmp_path / "metadata" / "untold.wav", noise * 0.7, RATE)
    return tmp_path


def test_every_kind_of_problem(damaged: Path) -> None:
    found = inspect(str(damaged))
    assert {(f.path.name, f.kind, f.left_out) for f in found.findings} == {
        ("silent.wav", "silent", True),
        ("clipped.wav", "clipped", False),
        ("short.wav", "too short", True),
        ("long.wav", "too long", True),
        ("stereo.wav", "channels", False),
        ("emoji.wav", "no text", True),
        ("twin_again.wav", "duplicate", False),
        ("broken.flac", "unreadable", True),
        ("untold.wav", "no text", True),
    }
    assert len(found.usable) == 6 + 4
    assert found.rates == {RATE: 14}
    assert found.hours == pytest.approx((6 + 4 * 2) / 3600)


def test_as_table_and_json(damaged: Path) -> None:
    shown = CliRunner().invoke(app, ["inspect", str(damaged)])
    assert shown.exit_code == 0
    assert "broken.flac" in shown.stdout
    figures = json.loads(CliRunner().invoke(app, ["inspect", str(damaged), "--json"]).stdout)
    assert figures["speakers"] == 3
    assert figures["left_out"] == 6
    assert figures["sample_rates"] == {str(RATE): 14}
    assert sum(split["utterances"] for split in figures["splits"].values()) == figures["utterances"] == 10
    listed = json.loads(CliRunner().invoke(app, ["list", str(damaged), "--json"]).stdout)
    assert {row["speaker"] for row in listed["speakers"]} == {"a", "b", "metadata"}


def _speaker(folder: Path, **waves: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, wave in waves.items():
        soundfile.write(folder / f"{name}.wav", wave, RATE, subtype="FLOAT")
        (folder / f"{name}.txt").write_text("good words")


def test_what_is_usable_is_what_a_run_uses(tmp_path: Path) -> None:
    """Also what only the features show: clicks, a text that is too long, an alignment of points."""
    takes = {f"{n}": np.random.default_rng(n).normal(0, 0.1, RATE).astype(np.float32) for n in range(8)}
    click = np.random.default_rng(9).normal(0, 1e-6, RATE)
    click[500:510] = 0.5
    _speaker(tmp_path / "a", **takes, click=click, moved=takes["1"] + np.float32(0.4), loud=takes["2"] * 40)
    _speaker(tmp_path / "b", **{name: wave[::-1] for name, wave in takes.items()})
    _speaker(tmp_path / "c", **{name: wave * np.float32(0.5) for name, wave in takes.items()})
    (tmp_path / "a" / "3.txt").write_text("much too long a text for a second of sound " * 9)
    (tmp_path / "a" / "4.TextGrid").write_text(
        '"ooTextFile" "TextGrid" 0 1 <exists> 1 "TextTier" "phones" 0 1 0'
    )
    (tmp_path / "b" / "6.txt").write_text("good слова 😊", encoding="utf-8")
    (tmp_path / "b" / "5.wav").write_bytes((tmp_path / "b" / "5.wav").read_bytes()[:56_000])
    found = inspect(str(tmp_path))
    recipe = find_recipe("default").override(
        {"corpus.path": str(tmp_path), "corpus.only": "*", "engine.workers": 1}
    )
    run = prepare(recipe, tmp_path / "cache")
    used = {u.utterance_id for split in (run.train, run.test) for said in split.values() for u in said}
    assert {u.utterance_id for u in found.usable} == used
    assert len(used) == 3 * 8 + 3 - 4
    assert {(f.path.name, f.kind) for f in found.findings if f.left_out} == {
        ("click.wav", "silent"),
        ("3.wav", "unusable"),
        ("4.wav", "alignment"),
        ("5.wav", "cut short"),
    }
    notes = {(f.path.name, f.kind) for f in found.findings if not f.left_out}
    assert {("moved.wav", "offset"), ("loud.wav", "out of range"), ("6.wav", "not said")} <= notes
    told = next(f.detail for f in found.findings if f.kind == "not said")
    assert "'слова'" in told
    assert "'😊'" in told
    assert len(run.left_out) == 4


def test_a_corpus_of_which_nothing_can_be_used_is_no_success(tmp_path: Path) -> None:
    _speaker(tmp_path / "silent", a=np.zeros(RATE))
    (tmp_path / "empty").mkdir()
    (tmp_path / "header").mkdir()
    (tmp_path / "header" / "metadata.csv").write_text("path,text\n")
    (tmp_path / "vctk" / "wav48").mkdir(parents=True)
    (tmp_path / "vctk" / "txt").mkdir()
    phone = tmp_path / "phone"
    phone.mkdir()
    (phone / "u1.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100))
    (phone / "u1.txt").write_text("words")
    said = {"silent": "is silent", "empty": "no recordings in it", "header": "lists no recordings",
            "vctk": "p225_001_mic1.flac", "phone": "to WAV"}  # fmt: skip
    for name, words in said.items():
        shown = CliRunner().invoke(app, ["inspect", str(tmp_path / name)], env={"COLUMNS": "300"})
        assert shown.exit_code == 1, name
        assert words in shown.stdout
        assert "no problems" not in shown.stdout
        figures = CliRunner().invoke(app, ["inspect", str(tmp_path / name), "--json"])
        assert figures.exit_code == 1
        assert json.loads(figures.stdout)["utterances"] == 0


def test_a_missing_corpus_is_our_error() -> None:
    result = CliRunner().invoke(app, ["inspect", "/nowhere/at/all"])
    assert isinstance(result.exception, CorpusError)


def test_espeak_command(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    arguments = ["espeak", str(tmp_path / "out"), "--speakers", "3", "--utterances", "2", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert json.loads(result.stdout)["utterances"] == 6
    assert len(list((tmp_path / "out").rglob("*.flac"))) == 6


@pytest.mark.slow
@pytest.mark.realspeech
def test_real_speech_is_nearly_all_usable(speech_path: Path) -> None:
    found = inspect(str(speech_path))
    assert found.rates == {16000: 4468}
    assert {f.kind for f in found.findings} == {"too long", "clipped"}
    assert 6.0 < found.hours < 6.1
