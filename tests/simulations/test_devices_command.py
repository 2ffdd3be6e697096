"""``fedvoice corpus devices`` makes homes that the client app finds, for Flower's own ``flwr run``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from typer.testing import CliRunner

from client.app import _device
from client.home.device import Device
from simulations import cli
from simulations.corpora.embedded import ROOT

runner = CliRunner()
RECIPE = "[corpus]\nspeakers = 3\ntest_speakers = 1\nutterances = 2\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_mounted_and_explained() -> None:
    shown = runner.invoke(cli.app, ["corpus", "--help"], env={"COLUMNS": "200"}).output
    for command in ("inspect", "list", "espeak", "devices"):
        assert command in shown
    shown = runner.invoke(
        cli.app, ["corpus", "devices", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}
    ).output
    assert "--output" in shown
    assert "--cache" in shown


def test_every_train_speaker_gets_a_home_that_its_client_opens(tmp_path: Path, recipe: Path) -> None:
    arguments = ["--recipe", str(recipe), "--cache", str(tmp_path / "cache")]
    done = runner.invoke(
        cli.app, ["corpus", "devices", "embedded", "--output", str(tmp_path / "d"), *arguments, "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["clients"] == 3
    speakers = []
    for index in range(found["clients"]):
        context = Context(1, 1, {"partition-id": index}, RecordDict(), {"devices": found["devices"]})
        device, simulated = _device(context)
        assert simulated
        assert len(device.recordings) == 2
        assert all(u.audio.is_absolute() and u.audio.is_file() for u in device.recordings)
        speakers.append(device.speaker)
    assert len(set(speakers)) == 3
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) >= 3 * 2 + 5


def test_the_line_to_run_is_printed_and_made_again_keeps_what_is_there(tmp_path: Path, recipe: Path) -> None:
    command = ["corpus", "devices", "embedded", "--output", str(tmp_path / "d"), "--recipe", str(recipe)]
    command += ["--cache", str(tmp_path / "cache")]
    first = runner.invoke(cli.app, command)
    assert f'clients=3 devices="{tmp_path / "d"}"' in first.output
    home = sorted((tmp_path / "d").iterdir())[0]
    (home / "ledger.sqlite").write_bytes(b"spent")
    assert runner.invoke(cli.app, command).exit_code == 0
    assert (home / "ledger.sqlite").read_bytes() == b"spent"
    assert Device.open(home).speaker == home.name.split("-", 1)[1]


def test_a_folder_with_another_corpus_is_refused(tmp_path: Path, recipe: Path) -> None:
    command = [
        "corpus",
        "devices",
        "embedded",
        "--output",
        str(tmp_path / "d"),
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert runner.invoke(cli.app, [*command, "--recipe", str(recipe)]).exit_code == 0
    recipe.write_text(RECIPE.replace("speakers = 3", "speakers = 2", 1))
    done = runner.invoke(cli.app, [*command, "--recipe", str(recipe)])
    assert done.exit_code != 0
    assert "name an empty folder" in str(done.exception)


def test_a_recipe_says_nothing_of_the_speakers_of_another_corpus(tmp_path: Path, recipe: Path) -> None:
    recipe.write_text('[corpus]\nonly = "nobody"\nspeakers = 2\n')
    corpus = tmp_path / "mine"
    for number, voice in enumerate(("k_af_alloy", "k_am_puck", "k_bf_lily")):
        folder = corpus / f"person-{number}"
        folder.mkdir(parents=True)
        for audio in sorted((ROOT / voice).glob("*.ogg"))[:2]:
            (folder / audio.name).write_bytes(audio.read_bytes())
            (folder / audio.name).with_suffix(".txt").write_text("He was a german named kerp.")
    (corpus / "metadata.csv").write_text(_table(corpus))
    command = ["corpus", "devices", str(corpus), "--output", str(tmp_path / "d"), "--recipe", str(recipe)]
    done = runner.invoke(cli.app, [*command, "--cache", str(tmp_path / "cache"), "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["clients"] == 3


def _table(corpus: Path) -> str:
    """Everybody in training, none held out."""
    lines = [
        f"{p.relative_to(corpus)},{p.with_suffix('.txt').read_text()},train"
        for p in sorted(corpus.rglob("*.ogg"))
    ]
    return "\n".join(["path,text,split", *lines]) + "\n"
