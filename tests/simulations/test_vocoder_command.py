"""``fedvoice vocoder`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from small_vocoder import CORPUS, SMALL

from shared_models.audio.reading import read_audio
from shared_models.vocoders import load_vocoder
from shared_models.vocoders.hifigan import HiFiGan, HiFiGanDimensions
from simulations import cli
from simulations.corpora import embedded
from simulations.run_folder import RunFolder

SIZES = HiFiGanDimensions(16, (8, 8, 4), (16, 16, 8), (3,), ((1, 2),), False)


def _recording(folder: Path, name: str = "a.wav") -> Path:
    source = next(embedded.ROOT.rglob("*.ogg"), None) or next(embedded.ROOT.rglob("*.flac"))
    wave, rate = read_audio(source)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate)
    return path


def _sets() -> list[str]:
    changed = SMALL | {"steps": 3, "adversarial_from": 1, "discriminator_weights": []}
    pairs = [f"vocoder.{name}={json.dumps(value)}" for name, value in changed.items()]
    pairs += [f"corpus.{name}={value}" for name, value in CORPUS.items()]
    return [word for pair in pairs for word in ("--set", pair)]


def test_train_then_synthesize(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert cli.run(["vocoder", "train", *_sets(), "--output", str(run), "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["steps"] == 3
    assert trained["last"][0]["validation_mel"] > 0
    before = load_file(run / "vocoder.safetensors")
    (run / "vocoder.safetensors").unlink()
    assert cli.run(["vocoder", "train", "--resume", str(run), "--json"]) == 0
    again = load_file(run / "vocoder.safetensors")
    assert all(torch.equal(again[name], before[name]) for name in before)
    capsys.readouterr()
    _recording(tmp_path / "in", "deep/a.wav")
    (tmp_path / "in" / "broken.wav").write_bytes(b"no")
    arguments = ["vocoder", "synthesize", str(tmp_path / "in"), "--vocoder", trained["vocoder"]]
    assert cli.run([*arguments, "--output", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(copy["copy"]) for copy in found["copies"]] == [tmp_path / "out" / "deep" / "a.wav"]
    assert "broken.wav" in found["left_out"][0]["path"]
    copied, rate = soundfile.read(found["copies"][0]["copy"])
    source, original = soundfile.read(tmp_path / "in" / "deep" / "a.wav")
    assert rate == 22050
    assert abs(len(copied) / rate - len(source) / original) < 0.02


def test_griffin_lim_copies_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = _recording(tmp_path)
    assert cli.run(["vocoder", "synthesize", str(recording), "--output", str(tmp_path / "out")]) == 0
    assert "mel distance" in capsys.readouterr().out
    wave, _ = read_audio(tmp_path / "out" / "a.wav")
    assert np.abs(wave).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["synthesize", "IN/a.wav", "IN/b/a.wav"], "would both become"),
        (["synthesize", "IN/a.wav", "--output", "IN"], "would replace it"),
        (["synthesize", "IN/nothing.wav"], "there is no such file"),
        (["synthesize", "IN/empty"], "there is no audio"),
        (["synthesize", "IN/a.wav", "--vocoder", "wavenet"], "there is no vocoder 'wavenet'"),
        (["train", "--resume", "IN"], "is not a run folder"),
        (["train", "--corpus", "IN/nowhere"], "there is no corpus"),
        (["train", "--recipe", "wavenet"], "choose one of"),
        (
            ["train", "--corpus", "embedded", "--start", "packaged"],
            "another vocoder than the recipe describes",
        ),
        (
            ["federate", "--corpus", "embedded", "--start", "packaged"],
            "another vocoder than the recipe describes",
        ),
        (["train", "--corpus", "embedded", "--start", "IN/none.safetensors"], "none.safetensors"),
        (["import", "IN/a.wav", "--config", "IN/nothing.json"], "config.json"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    _recording(tmp_path)
    _recording(tmp_path, "b/a.wav")
    (tmp_path / "empty").mkdir()
    assert cli.run(["vocoder", *(word.replace("IN", str(tmp_path)) for word in arguments)]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("change", [("--set", "seed=2"), ("--start", "packaged")])
def test_resume_takes_no_changes(
    change: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from shared_models.recipes.vocoders import find_vocoder_recipe

    RunFolder.create(tmp_path / "run", find_vocoder_recipe("vocos_small"))
    assert cli.run(["vocoder", "train", "--resume", str(tmp_path / "run"), *change]) == 2
    assert "leave --recipe" in capsys.readouterr().err
    assert not (tmp_path / "run" / "start.safetensors").exists()


def test_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, config = tmp_path / "generator", tmp_path / "config.json"
    torch.save({"generator": HiFiGan(SIZES).state_dict()}, checkpoint)
    settings = {
        "num_mels": 80, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "sampling_rate": 22050, "fmin": 0,
        "fmax": 8000, "resblock": "2", "upsample_rates": SIZES.rates, "upsample_kernel_sizes": SIZES.kernels,
        "upsample_initial_channel": SIZES.channels, "resblock_kernel_sizes": SIZES.block_kernels,
        "resblock_dilation_sizes": SIZES.block_dilations,
    }  # fmt: skip
    config.write_text(json.dumps(settings))
    output = tmp_path / "imported.safetensors"
    arguments = ["vocoder", "import", str(checkpoint), "--config", str(config), "--output", str(output)]
    assert cli.run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "hifigan_v3"
    assert load_vocoder(output)(torch.zeros(5, 80)).shape == (5 * 256,)
