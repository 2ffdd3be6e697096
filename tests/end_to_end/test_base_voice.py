"""The weights that ship: whole, small, nobody's, and understood."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from tiny_federation import read_table, small_corpus, tiny_model, tiny_recipe, write_table
from typer.testing import CliRunner

from client.profile import load_profile
from shared_models.audio.reading import read_audio
from shared_models.base_model import BaseModel, load_base, packaged_base, write_base
from shared_models.partition import weights_hash
from shared_models.pretrained import ACOUSTIC, DEFAULT_VOICE, FOLDER, VOCODER, packaged_voice, voice_names
from shared_models.vocoders import packaged_vocoder
from simulations import cli
from simulations.corpora.embedded import ROOT

SAID = "Please close the window before you leave the room."


def test_they_fit_into_forty_mebibytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.safetensors")) <= 40 * 2**20


def test_no_file_says_where_it_was_made() -> None:
    for path in FOLDER.rglob("*.safetensors"):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])["__metadata__"]
        assert not any(text.startswith("/") or '"/' in text for text in header.values()), path
    assert packaged_base().recipe.name == "base_voice"
    assert packaged_vocoder().kind == "magnitude"


def test_every_voice_is_a_synthetic_one_and_speaks_with_this_base() -> None:
    published = {path.name.removeprefix("k_") for path in ROOT.iterdir() if path.name.startswith("k_")}
    base = packaged_base()
    assert DEFAULT_VOICE in voice_names()
    assert set(voice_names()) <= published
    for name in voice_names():
        profile = load_profile(packaged_voice(name), base=base.hash)
        assert profile.size <= 5000


def test_weights_are_finite() -> None:
    vector = packaged_base().model.shared_vector()
    assert np.isfinite(vector.numpy()).all()
    assert ACOUSTIC.is_file()
    assert VOCODER.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("voice", ["af_heart", "bm_george"])
def test_a_fresh_clone_is_understood(voice: str, tmp_path: Path) -> None:
    output = tmp_path / "said.wav"
    done = CliRunner().invoke(cli.app, ["speak", SAID, "--voice", voice, "--output", str(output), "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    wave, rate = read_audio(output)
    assert len(wave) / rate == pytest.approx(figures["seconds"], abs=0.01)
    assert 2.0 < figures["seconds"] < 7.0
    if importlib.util.find_spec("moonshine_voice") is None:
        pytest.skip("the recogniser is not installed")
    from simulations.evaluation.recognition import error_rates, load_moonshine

    heard = load_moonshine().transcribe(wave, rate)
    assert error_rates([SAID], [heard]).cer <= 0.2, heard


def test_an_unknown_voice_is_one_clear_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli.app, ["speak", "Hello.", "--voice", "nobody", "--output", str(tmp_path / "x.wav")]
    )
    assert done.exit_code != 0
    assert "there is no voice 'nobody': choose one of af_" in str(done.exception)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's, without alignments."""
    folder = small_corpus(tmp_path_factory.mktemp("recordings") / "me", train=1, utterances=3)
    write_table(folder, [row | {"alignment": ""} for row in read_table(folder)])
    return folder


def clone(recordings: Path, voice: Path, *more: str) -> Result:
    return CliRunner().invoke(cli.app, ["clone", str(recordings), "--output", str(voice), "--json", *more])


def test_a_base_without_an_aligner_listens_and_says_so(recordings: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(aligner__learn="never")
    model, path = tiny_model(recipe), tmp_path / "base.safetensors"
    write_base(path, BaseModel(model, recipe, weights_hash(model.shared_vector())))
    voice = tmp_path / "me.voice.safetensors"
    done = clone(recordings, voice, "--base", str(path))
    assert done.exit_code == 0, done.output
    assert "no aligner" in done.stderr
    load_profile(voice, base=load_base(path).hash)
    refused = clone(recordings, tmp_path / "p.safetensors", "--base", str(path), "--epsilon", "4")
    assert "needs alignments" in str(refused.exception)


@pytest.mark.skipif(packaged_base().model.model.aligner is None, reason="the base ships without an aligner")
def test_the_packaged_base_adapts_to_recordings_without_alignments(recordings: Path, tmp_path: Path) -> None:
    listened = clone(recordings, tmp_path / "z.voice.safetensors", "--zero-shot")
    adapted = clone(recordings, tmp_path / "a.voice.safetensors")
    assert adapted.exit_code == 0, adapted.output
    assert "no aligner" not in adapted.stderr
    figures = [json.loads(done.stdout) for done in (listened, adapted)]
    assert figures[1]["mel_after"] < min(figures[0]["mel_after"], figures[0]["mel_before"])
