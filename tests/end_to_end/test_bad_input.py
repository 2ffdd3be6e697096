"""What a user gets wrong is one clear line and an exit code, and costs nothing of what was there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_federation import (
    features_of_tests,
    shaken,
    small_corpus,
    tiny_model,
    tiny_overrides,
    tiny_recipe,
)

from client.cloning import voice_of_nobody
from client.profile import VoiceProfile, save_profile
from server.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from shared_models.base_model import load_base
from shared_models.config import Recipe
from simulations import cli
from simulations.run_folder import RunFolder


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    monkeypatch.setenv("FEDVOICE_BASES", str(tmp_path / "bases"))
    monkeypatch.chdir(tmp_path)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a command line ends with."""
    capsys.readouterr()
    code = cli.run([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert code not in (0, None)
    assert "Traceback" not in shown.err
    errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, shown.err
    assert shown.err.splitlines()[-1] == errors[0]
    return errors[0]


def base_of(folder: Path, recipe: Recipe | None = None) -> Path:
    """A checkpoint of the tiny model, as if trained."""
    recipe = recipe or tiny_recipe(aligner__learn="never")
    model = shaken(tiny_model(recipe))
    return save_checkpoint(
        folder, Checkpoint(3, model.shared_vector(), model.partition.schema, recipe.model_dump_json())
    )


def profile_on(base: Path, path: Path) -> Path:
    loaded = load_base(base)
    save_profile(path, VoiceProfile(voice_of_nobody(loaded.model), loaded.hash, "nobody"))
    return path


def simulate(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    return error_of(capsys, "simulate", "--output", "run", *arguments)


def test_a_missing_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    error = simulate(capsys, "--corpus", "no/such/corpus")
    assert "there is no corpus at" in error
    assert "no/such/corpus" in error


def test_a_corpus_with_one_speaker(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = small_corpus(tmp_path / "lonely", train=1, utterances=3)
    error = simulate(capsys, "--corpus", root)
    assert "only one usable speaker" in error
    assert "lonely" in error
    assert "fedvoice corpus inspect" in error


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("federation.round=3", ["federation.round", "unknown field", "--explain"]),
        ("federation.rounds=three", ["federation.rounds", "three", "integer"]),
        ("federation.rounds=0", ["federation.rounds", "greater than or equal to 1"]),
        ("federation.algorithm=fedprix", ["federation.algorithm", "fedprix", "'fedrep'"]),
        ("model.heads=3", ["model.hidden", "heads"]),
        ("federation.rounds", ["--set", "path=value"]),
    ],
)
def test_a_field_that_is_unknown_or_of_the_wrong_type(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, override: str, named: list[str]
) -> None:
    root = small_corpus(tmp_path / "corpus", train=2, utterances=2)
    (tmp_path / "plain.toml").write_text('name = "plain"\n')
    error = simulate(capsys, "--recipe", "plain.toml", "--corpus", root, "--set", override)
    assert all(part in error for part in named), error


def test_an_unknown_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    error = simulate(capsys, "--recipe", "defualt")
    assert "no recipe 'defualt'" in error
    assert "default" in error
    assert "missing.toml" in simulate(capsys, "--recipe", "missing.toml")
    (tmp_path / "broken.toml").write_text("[federation\nrounds = 3")
    assert "broken.toml is not valid TOML" in simulate(capsys, "--recipe", "broken.toml")


def test_an_epsilon_that_cannot_be_reached(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = small_corpus(tmp_path / "corpus", train=2, utterances=3)
    recipe = tmp_path / "private.toml"
    recipe.write_text(
        'name = "private"\n[corpus]\npath = "' + root.as_posix() + '"\n'
        '[privacy]\nmode = "central"\nepsilon = 1e-9\ndelta = 1e-12\n[federation]\nrounds = 100000\n'
    )
    error = simulate(capsys, "--recipe", recipe)
    assert "epsilon" in error
    assert "1e-09" in error


def test_a_checkpoint_of_another_model_is_no_base(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = tiny_recipe(aligner__learn="never")
    wider = tiny_model(tiny_recipe(aligner__learn="never", model__filter=64))
    path = save_checkpoint(
        tmp_path, Checkpoint(1, wider.shared_vector(), wider.partition.schema, recipe.model_dump_json())
    )
    error = error_of(capsys, "clone", tmp_path, "--base", path)
    assert "round-00001" in error
    assert "holds another model than its recipe makes" in error


def test_a_run_with_another_recipes_checkpoints_does_not_go_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = small_corpus(tmp_path / "corpus", train=2, test=1, utterances=6)
    recipe = tiny_recipe(corpus__path=str(root))
    run = RunFolder.create(tmp_path / "run", recipe)
    path = base_of(run.arm("federated").checkpoints, tiny_recipe(aligner__learn="never", seed=99))
    content = path.read_bytes()
    error = error_of(capsys, "simulate", "--resume", run.path)
    assert "another recipe" in error or "another model" in error
    assert "checkpoints" in error
    assert path.read_bytes() == content


@pytest.mark.parametrize("share", [0.0, 0.01, 0.9])
def test_a_truncated_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path, share: float) -> None:
    path = base_of(tmp_path / "base")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    error = error_of(capsys, "clone", tmp_path, "--base", path)
    assert "round-00003" in error
    assert "truncated or damaged" in error


def test_a_folder_that_is_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "not a run folder" in error_of(capsys, "simulate", "--resume", tmp_path)
    assert "has no checkpoint" in error_of(capsys, "clone", tmp_path, "--base", tmp_path)


def test_a_language_without_a_phonemizer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = base_of(tmp_path / "base")
    voice = profile_on(base, tmp_path / "v.voice.safetensors")
    error = error_of(capsys, "speak", "hello", "--voice", voice, "--base", base, "--language", "xx")
    assert "xx" in error
    assert not (tmp_path / "speech.wav").exists()


def test_a_voice_of_another_base(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    voice = profile_on(base_of(tmp_path / "mine"), tmp_path / "v.voice.safetensors")
    other = base_of(tmp_path / "other", tiny_recipe(aligner__learn="never", seed=8))
    error = error_of(capsys, "speak", "hello", "--voice", voice, "--base", other)
    assert "v.voice.safetensors was cloned on base" in error
    error = error_of(capsys, "speak", "hello", "--voice", voice)
    assert "--base" in error


def test_a_corrupted_voice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    voice = profile_on(base_of(tmp_path / "base"), tmp_path / "v.voice.safetensors")
    voice.write_bytes(b"\x80\x04nothing" + voice.read_bytes()[9:])
    error = error_of(capsys, "speak", "hello", "--voice", voice, "--base", tmp_path / "base")
    assert "v.voice.safetensors cannot be read" in error
    assert "clone the voice again" in error


@pytest.mark.parametrize("output", ["x" * 300 + ".wav", "folder.wav", "said.docx", "said", "file/said.wav"])
def test_a_name_that_no_sound_can_have(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, output: str
) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "file").touch()
    base = base_of(tmp_path / "base")
    voice = profile_on(base, tmp_path / "v.voice.safetensors")
    error = error_of(
        capsys,
        "speak",
        "Hello.",
        "--voice",
        voice,
        "--base",
        base,
        "--vocoder",
        "griffin_lim",
        "--output",
        output,
    )
    assert "cannot be written" in error
    assert len(error) < 400


def test_one_recording_is_no_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "memo.wav").write_bytes(b"RIFF")
    assert "memo.wav is one recording: name the folder" in error_of(capsys, "clone", tmp_path / "memo.wav")


def test_the_console_script_ends_with_the_same_line_and_a_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulations.cli", "simulate", "--corpus", "nowhere", "--output", "run"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if "error" in line] == [done.stderr.splitlines()[-1]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(
            f"SKIPPED FOR LACK OF RIGHTS: no small disk could be mounted ({made.stderr.decode().strip()})"
        )
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return filler


@pytest.mark.slow
def test_a_disk_that_fills_up_in_mid_run_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    root = small_corpus(tmp_path / "corpus", train=2, test=1, utterances=6)
    overrides = tiny_overrides(corpus__path=root.as_posix(), engine__workers=1, client__outer_steps=1,
                               federation__cohort=2, federation__rounds=40, evaluation__speakers=1,
                               federation__server_optimizer="fedavg")  # fmt: skip
    # The recipe's own arms go: one is enough.
    recipe = tmp_path / "one.toml"
    recipe.write_text('name = "one"\n')
    run = RunFolder(small_disk / "run")
    command = [sys.executable, "-m", "simulations.cli", "simulate"]
    process = subprocess.Popen(
        [*command, "--recipe", str(recipe), *overrides, "--output", str(run.path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    metrics = run.arm("federated").metrics_path
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    filler = fill(small_disk)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2, stderr
    assert "Traceback" not in stderr
    (error,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert "full" in error
    assert f"resume with fedvoice simulate --resume {run.path}" in error
    kept = latest_checkpoint(run.arm("federated").checkpoints)
    assert kept is not None
    assert kept.round >= 2
    assert torch.isfinite(kept.weights).all()
    filler.unlink()
    done = subprocess.run(
        [*command, "--resume", str(run.path), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [m["round"] for m in run.arm("federated").metrics()] == list(range(1, 41))


@pytest.mark.slow
def test_a_full_disk_takes_no_voice_away(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = base_of(tmp_path / "base")
    voice = profile_on(base, small_disk / "v.voice.safetensors")
    content = voice.read_bytes()
    fill(small_disk)
    recordings = small_corpus(tmp_path / "corpus", train=1, utterances=3)
    error = error_of(capsys, "clone", recordings, "--base", base, "--zero-shot", "--output", voice)
    assert "the disk that holds" in error
    assert "v.voice.safetensors" in error
    assert voice.read_bytes() == content


def test_a_zero_shot_voice_has_no_epsilon(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = base_of(tmp_path / "base")
    recordings = small_corpus(tmp_path / "corpus", train=1, utterances=3)
    for how in (["--zero-shot"], ["--steps", "0"]):
        error = error_of(capsys, "clone", recordings, "--base", base, "--epsilon", "4", *how)
        assert "has no epsilon" in error
    assert not list(tmp_path.glob("*.voice.safetensors"))


def test_a_speaker_who_is_public_and_a_client_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = small_corpus(tmp_path / "corpus", train=2, utterances=2)
    (tmp_path / "both.toml").write_text(
        f'name = "both"\n[pretraining]\nsteps = 5\ncorpus = "{root.as_posix()}"\n'
    )
    error = simulate(capsys, "--recipe", "both.toml", "--corpus", root)
    assert "both public" in error
    assert not (tmp_path / "run" / "pretraining").exists()
