"""``fedvoice clone``: what it enters in the owner's ledger, what it says of it, and what the profile does not hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import Result
from safetensors import safe_open
from tiny_federation import small_corpus, tiny_model, tiny_recipe
from typer.testing import CliRunner

from client import before_and_after
from client.home.kept_bases import find_base
from client.home.owner_ledger import open_owner_ledger, owner_ledger_path
from client.profile import profile_base
from client.speaker import Speaker
from shared_models.base_model import BaseModel, write_base
from shared_models.errors import BudgetError, PrivacyError, RecipeError, StaleCopyError
from shared_models.partition import weights_hash
from simulations import cli

SAID_OF_ALL = "composed over all cloning and joining"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("recordings") / "me", train=1, utterances=2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before_and_after, "_similarity", lambda *_: 0.5)  # a verifier and a vocoder to load


@pytest.fixture
def base(tmp_path: Path) -> Path:
    recipe, path = tiny_recipe(aligner__learn="never"), tmp_path / "base.safetensors"
    model = tiny_model(recipe)
    write_base(path, BaseModel(model, recipe, weights_hash(model.shared_vector())))
    return path


def clone(recordings: Path, base: Path, *more: str) -> Result:
    voice = base.with_name("me.voice.safetensors")
    return CliRunner().invoke(
        cli.app, ["clone", str(recordings), "--base", str(base), "--output", str(voice), *more]
    )


def figures(recordings: Path, base: Path, *more: str) -> dict[str, Any]:
    done = clone(recordings, base, "--json", *more)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def words(done: Result) -> str:
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.split())


def test_a_private_profile_says_what_this_release_costs_and_nothing_else(
    recordings: Path, base: Path
) -> None:
    found = figures(recordings, base, "--epsilon", "4")
    assert found["privacy"]["epsilon"] == 4.0
    assert 0 < found["ledger"]["epsilon"] <= 4.0
    with safe_open(found["profile"], framework="pt") as file:
        header = file.metadata()
    assert json.loads(header["privacy"]) == found["privacy"]
    assert set(header) == {"format", "base", "name", "privacy"}
    # Whatever is computed from the recordings without noise is named as such.
    assert set(found) - set(found["for_your_eyes"]) == {
        "name", "profile", "numbers", "bytes", "personal", "privacy", "for_your_eyes",
    }  # fmt: skip


def test_the_shown_figures_are_for_the_owner_and_say_so(recordings: Path, base: Path) -> None:
    said = words(clone(recordings, base, "--epsilon", "4"))
    assert "this profile costs epsilon 4 at most" in said
    assert SAID_OF_ALL in said
    assert "for your eyes" in said
    assert "the profile does not hold them" in said
    assert "eyes" in words(CliRunner().invoke(cli.app, ["clone", "--help"]))


@pytest.mark.parametrize("how", [["--zero-shot"], ["--steps", "1"]])
def test_beside_an_unprotected_release_nothing_is_said_of_everything(
    recordings: Path, base: Path, how: list[str]
) -> None:
    said = words(clone(recordings, base, *how))
    assert "privacy: none" in said
    assert ("nothing was trained" in said) == ("--zero-shot" in how)
    assert "1 release without protection" in said
    assert open_owner_ledger(None, 1e-3).unprotected() == 1
    said = words(clone(recordings, base, "--epsilon", "4"))
    assert SAID_OF_ALL not in said
    assert "no epsilon covers" in said
    assert figures(recordings, base, "--zero-shot")["ledger"]["unprotected_releases"] == 2


def test_the_budget_is_over_all_and_may_be_named(recordings: Path, base: Path) -> None:
    figures(recordings, base, "--epsilon", "4")
    assert isinstance(clone(recordings, base, "--epsilon", "4").exception, BudgetError)
    found = figures(recordings, base, "--epsilon", "4", "--budget", "9")
    assert found["privacy"]["epsilon"] == 4.0
    assert 4.0 < found["ledger"]["epsilon"] <= 9.0
    assert isinstance(clone(recordings, base, "--budget", "9").exception, PrivacyError)


def test_a_restored_older_ledger_is_refused_and_no_profile_is_written(recordings: Path, base: Path) -> None:
    path, backup = owner_ledger_path(), base.with_name("backup")
    figures(recordings, base, "--epsilon", "2", "--budget", "20")
    shutil.copy(path, backup)
    figures(recordings, base, "--epsilon", "2", "--budget", "20")
    for gone in path.parent.glob("ledger.sqlite*"):
        gone.unlink()
    shutil.copy(backup, path)
    voice = base.with_name("me.voice.safetensors")
    voice.unlink()
    assert isinstance(clone(recordings, base, "--epsilon", "2", "--budget", "20").exception, StaleCopyError)
    assert not voice.exists()


def test_a_voice_is_adapted_in_another_way_than_its_base_was_trained_with_and_speaks(
    recordings: Path, base: Path
) -> None:
    plain = figures(recordings, base)
    found = figures(recordings, base, "--adaptation", "vectors+lora")
    assert found["personal"]["adaptation"] == "vectors+lora"
    assert found["personal"]["numbers"] > plain["personal"]["numbers"]
    assert found["personal"]["bytes"] == 4 * found["personal"]["numbers"]
    kept = find_base(profile_base(Path(found["profile"])))
    assert kept.recipe.speaker.personal == "vectors", "the base stays as it was"
    for where in (base, None):
        speaker = Speaker.load(found["profile"], base=where, vocoder="griffin_lim")
        assert any(name.startswith("lora/") and bool(speaker.voice[name].any()) for name in speaker.voice)
        assert speaker.unmarked(torch.tensor([5, 9, 14, 7])).wave.any()


def test_an_adaptation_that_there_is_not_is_told_of(recordings: Path, base: Path) -> None:
    done = clone(recordings, base, "--adaptation", "unheard")
    assert isinstance(done.exception, RecipeError)
    assert "no personal set 'unheard'" in str(done.exception)


def test_odd_files_are_left_out_by_name_and_stdout_stays_json(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "me"
    folder.mkdir()
    for number in range(4):
        take = np.random.default_rng(number).normal(0.2 * (number == 1), 0.1, 24000)
        soundfile.write(folder / f"{number}.wav", take, 16000)
        (folder / f"{number}.txt").write_text(
            "good 👍 words" if number == 2 else "good words", encoding="utf-8"
        )
    (folder / "memo.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100))
    (folder / "memo.txt").write_text("words")
    (folder / "untold.wav").write_bytes(b"RIFF")
    grid = '"ooTextFile" "TextGrid" 0 9 <exists> 1 "TextTier" "phones" 0 5 1 0.5 "a"'
    (folder / "3.TextGrid").write_text(grid)
    found = figures(folder, base, "--zero-shot", "--name", "[red]Ann[/] \x1b[31m")
    assert found["utterances"] == 3
    said = " ".join(found["left_out"])
    for name in ("memo.m4a", "untold.wav", "3.TextGrid"):
        assert name in said
    moved, unsaid = found["notes"]
    assert "1.wav: an offset of 0." in moved
    assert "2.wav: '👍' cannot be said" in unsaid
    shown = clone(folder, base, "--zero-shot", "--name", "[/]" * 50)
    assert shown.exit_code == 0, shown.output
    assert "note: " in shown.stdout
