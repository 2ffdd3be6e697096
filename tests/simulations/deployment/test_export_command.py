"""``fedvoice export`` end to end on a tiny base, and the figures of its table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_federation import features_of_tests, shaken, tiny_model, tiny_recipe
from typer.testing import CliRunner

from shared_models.base_model import BaseModel, load_base
from shared_models.errors import RecipeError
from shared_models.export.onnx_voice import OnnxVoice
from shared_models.vocoders import load_vocoder, save_vocoder
from shared_models.vocoders.diffwave import DiffWave, DiffWaveDimensions
from shared_models.vocoders.magnitude import MagnitudeDimensions, MagnitudeNetwork
from simulations import cli
from simulations.deployment.figures import mel_distance
from simulations.deployment.forms import Plan, Source, deploy
from simulations.deployment.tuning import save_base

EXTRA = "SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'"
RECIPE = tiny_recipe(aligner__learn="never", model__filter=256)
runner = CliRunner()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``base.safetensors`` and ``vocoder.safetensors``."""
    folder = tmp_path_factory.mktemp("source")
    save_base(folder / "base.safetensors", BaseModel(shaken(tiny_model(RECIPE), 0.05), RECIPE, ""), RECIPE)
    dimensions = MagnitudeDimensions(width=32, hidden=1024, blocks=2, iterations=4)
    torch.manual_seed(3)
    save_vocoder(folder / "vocoder.safetensors", MagnitudeNetwork(dimensions), "magnitude", dimensions)
    return folder


def arguments(source: Path, output: Path, *more: str) -> list[str]:
    return ["export", "--base", str(source / "base.safetensors"), "--vocoder", str(source / "vocoder.safetensors"),
            "--output", str(output), "--sentences", "1", "--cache", str(features_of_tests()), *more]  # fmt: skip


@pytest.mark.slow
def test_all_forms_are_written_and_judged(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason=EXTRA)
    pytest.importorskip("onnxscript", reason=EXTRA)
    output = tmp_path / "deployed"
    done = runner.invoke(
        cli.app,
        arguments(
            source,
            output,
            "--form",
            "all",
            "--steps",
            "4",
            "--vocoder-steps",
            "2",
            "--ratio",
            "1.5",
            "--student",
            "model.hidden=8",
            "--json",
        ),
        catch_exceptions=False,
    )
    rows = {row["form"]: row for row in json.loads(done.stdout)["forms"]}
    assert list(rows) == ["original", "onnx", "int8", "pruned", "distilled"]
    assert json.loads((output / "figures.json").read_text())["forms"] == list(rows.values())
    assert rows["original"]["mel_l1"] == 0
    assert rows["onnx"]["mel_l1"] < 1e-4
    assert rows["onnx"]["mel_l1"] < rows["int8"]["mel_l1"] < 0.2
    assert rows["onnx"]["megabytes"] > 2 * rows["int8"]["megabytes"]
    assert rows["pruned"]["megabytes"] < 0.85 * rows["onnx"]["megabytes"]
    assert all(row["real_time_factor"] > 0 for row in rows.values())
    original = load_base(source / "base.safetensors")
    pruned = load_base(output / "pruned" / "base.safetensors")
    distilled = load_base(output / "distilled" / "base.safetensors")
    assert pruned.model.model.dimensions.filter < original.model.model.dimensions.filter
    assert distilled.model.model.dimensions.hidden == 8
    hidden = load_vocoder(output / "pruned" / "vocoder.safetensors").dimensions.hidden  # type: ignore[union-attr]
    assert hidden < 1024
    assert np.isfinite(OnnxVoice(output / "int8").speak(["sil", "h", "sil"])).all()
    described = {f: json.loads((output / f / "voice.json").read_text()) for f in ("onnx", "int8", "pruned")}
    assert described["int8"]["base"] == described["onnx"]["base"] == original.hash
    assert described["pruned"]["base"] == pruned.hash
    assert all(d["iterations"] == 4 for d in described.values())


def test_what_ships_is_exported_where_nothing_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without weights in the package, one sentence says what to name."""
    monkeypatch.setattr("shared_models.base_model.ACOUSTIC", tmp_path / "none.safetensors")
    given = ["--vocoder", str(source / "vocoder.safetensors"), "--output", str(tmp_path / "out")]
    assert cli.run(["export", *given]) == 2
    assert "name a run, as in --base" in capsys.readouterr().err


def test_mel_distance_pairs_frames_where_lengths_differ() -> None:
    rng = np.random.default_rng(0)
    mel = rng.standard_normal((20, 80)).astype(np.float32)
    assert mel_distance(mel, mel + 0.25) == pytest.approx(0.25, rel=1e-5)
    slower = np.repeat(mel, 2, axis=0)
    assert mel_distance(mel, slower) == 0
    assert mel_distance(slower, mel + 1) == pytest.approx(mel_distance(mel + 1, slower))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--form", "distilled", "--steps", "0"], "trained from nothing"),
        (["--form", "pruned", "--steps", "0", "--ratio", "90"], "ask for at most"),
        (["--form", "distilled", "--student", "client.outer_lr=1", "--steps", "1"], "in [model] alone"),
        (["--form", "pruned", "--corpus", "no-such-folder"], "no-such-folder"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], named: str
) -> None:
    assert cli.run(arguments(source, tmp_path / "out", *more)) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert named in shown


def test_a_file_that_is_no_base_or_no_vocoder_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = [
        "export",
        "--base",
        str(source / "vocoder.safetensors"),
        "--vocoder",
        str(source / "base.safetensors"),
    ]
    assert cli.run([*swapped, "--output", str(tmp_path)]) == 2
    assert "error: " in capsys.readouterr().err


def test_unknown_forms_and_vocoders_that_are_no_graph_are_refused(source: Path, tmp_path: Path) -> None:
    base = load_base(source / "base.safetensors")
    vocoder = load_vocoder(source / "vocoder.safetensors")

    def stage(_title: str):  # type: ignore[no-untyped-def]
        return lambda _done, _total: None

    with pytest.raises(RecipeError, match="no form 'int4'; choose one of onnx, int8, pruned, distilled"):
        deploy(Source(base, vocoder), tmp_path, Plan(forms=("int4",)), stage)
    small = DiffWaveDimensions()
    save_vocoder(tmp_path / "diffwave.safetensors", DiffWave(small), "diffwave", small)
    with pytest.raises(RecipeError, match="DiffWave cannot be exported"):
        deploy(Source(base, load_vocoder(tmp_path / "diffwave.safetensors")), tmp_path / "out",
               Plan(forms=("onnx",), sentences=1), stage)  # fmt: skip
