"""``fedvoice embed``: what is released holds nothing of the recordings, and only what was paid for travels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from tiny_federation import small_corpus, tiny_model, tiny_recipe
from typer.testing import CliRunner

import client.embed
from client import before_and_after
from client.embedding_release import EmbeddingTerms, mean_embedding
from client.home.ledger import Ledger
from client.home.owner_ledger import open_owner_ledger
from client.profile import VoiceProfile, load_profile, save_profile
from client.speaker_embedding import SpeakerEmbedding, load_embedding
from shared_models.base_model import BaseModel, write_base
from shared_models.errors import BudgetError, CheckpointError, CorpusError, PrivacyError, RecipeError
from shared_models.partition import weights_hash
from shared_models.speakers.encoders.encoder import build_encoder
from shared_models.speakers.encoders.encoder_file import save_encoder
from shared_models.speakers.voice import Voice
from simulations import cli


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("recordings") / "me", train=1, utterances=3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder") / "x.safetensors"
    save_encoder(path, "x_vector", build_encoder("x_vector", channels=8, aggregated=12, width=16))
    return path


def embed(recordings: Path, output: Path, *more: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli.app, ["embed", str(recordings), "--output", str(output), "--json", *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def x_vector(weights: Path) -> tuple[str, ...]:
    return ("--encoder", "x_vector", "--weights", str(weights))


def test_a_release_is_in_the_ledger_and_its_file_tells_of_no_recording(
    recordings: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "me.embedding.safetensors"
    done = embed(recordings, out, *x_vector(weights), "--epsilon", "4")
    assert done["utterances"] == 3
    assert done["privacy"] == {
        "unit": "utterance",
        "epsilon": 4,
        "delta": 1e-5,
        "mechanism": "analytic Gaussian",
    }
    (entry,) = open_owner_ledger(None, 1e-5).history()
    assert (entry.spend.mechanism, entry.spend.unit) == ("analytic Gaussian", "utterance")
    with safe_open(out, framework="pt") as file:
        assert set(file.metadata()) == {"format", "encoder", "encoder_hash", "privacy"}
        assert list(file.keys()) == ["embedding"]
        assert json.loads(file.metadata()["privacy"]) == done["privacy"]
    content = out.read_bytes()
    for told in (str(recordings), "me/", *(p.stem for p in recordings.rglob("*.ogg"))):
        assert told.encode() not in content
    # Files of one recording and of three differ in nothing but the numbers.
    one = next(recordings.rglob("*.ogg"))
    embed(one, tmp_path / "one", *x_vector(weights), "--epsilon", "4", "--budget", "9")
    assert len((tmp_path / "one").read_bytes()) == len(content)
    with safe_open(tmp_path / "one", framework="pt") as other, safe_open(out, framework="pt") as file:
        assert other.metadata() == file.metadata()


def test_without_an_epsilon_it_is_the_same_each_time_and_stays(
    recordings: Path, weights: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    done = embed(recordings, first, *x_vector(weights))
    embed(recordings, second, *x_vector(weights))
    assert done["privacy"] is None
    assert done["ledger"] is None
    assert torch.equal(load_embedding(first).vector, load_embedding(second).vector)
    assert 0 < float(load_embedding(first).vector.norm()) <= 1
    assert open_owner_ledger(None, 1e-5).history() == []
    said = CliRunner().invoke(cli.app, ["embed", str(recordings), "--output", str(first), *x_vector(weights)])
    assert "stays on this device" in " ".join(said.stdout.split())


def test_a_budget_is_kept_over_releases(recordings: Path, weights: Path, tmp_path: Path) -> None:
    embed(recordings, tmp_path / "a", *x_vector(weights), "--epsilon", "4", "--budget", "5")
    with pytest.raises(BudgetError):
        embed(recordings, tmp_path / "b", *x_vector(weights), "--epsilon", "4", "--budget", "5")
    assert not (tmp_path / "b").exists()
    embed(recordings, tmp_path / "c", *x_vector(weights), "--epsilon", "4", "--unit", "person")


def test_emptying_a_recording_moves_the_mean_by_its_share_and_leaves_the_noise_alone(
    recordings: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, float]] = []

    def kept(vectors: torch.Tensor, terms: EmbeddingTerms, _: Ledger) -> torch.Tensor:
        seen.append((mean_embedding(vectors, terms.clipping_norm), terms.deviation(len(vectors))))
        return seen[-1][0].float()

    monkeypatch.setattr(client.embed, "release", kept)
    emptied = tmp_path / "emptied"
    shutil.copytree(recordings, emptied)
    file = min(emptied.rglob("*.ogg"))
    told = soundfile.info(file)
    soundfile.write(file, np.zeros(told.frames), told.samplerate, format="OGG")
    for place in (recordings, emptied):
        embed(place, tmp_path / "e", *x_vector(weights), "--epsilon", "4", "--clip", "1")
    (whole, noise), (without, same_noise) = seen
    assert noise == same_noise
    assert 0 < float((whole - without).norm()) <= 1 / 3 + 1e-9


def test_a_base_s_own_encoder_is_bound_to_the_base(recordings: Path, tmp_path: Path) -> None:
    recipe, base = tiny_recipe(aligner__learn="never"), tmp_path / "base.safetensors"
    model = tiny_model(recipe)
    write_base(base, BaseModel(model, recipe, weights_hash(model.shared_vector())))
    out = tmp_path / "me"
    done = embed(recordings, out, "--encoder", "mel_style", "--base", str(base))
    assert done["numbers"] == 16
    assert load_embedding(out).encoder_hash == weights_hash(model.shared_vector())


def test_a_profile_carries_what_was_paid_for_and_nothing_else(
    recordings: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before_and_after, "_similarity", lambda *_: 0.5)
    recipe, base = tiny_recipe(aligner__learn="never"), tmp_path / "base.safetensors"
    model = tiny_model(recipe)
    own = weights_hash(model.shared_vector())
    write_base(base, BaseModel(model, recipe, own))
    kept, released, voice = tmp_path / "kept", tmp_path / "released", tmp_path / "me.voice.safetensors"
    embed(recordings, kept, *x_vector(weights))
    embed(recordings, released, *x_vector(weights), "--epsilon", "4")

    def clone(embedding: Path) -> BaseException | None:
        arguments = ["clone", str(recordings), "--base", str(base), "--output", str(voice), "--zero-shot"]
        return CliRunner().invoke(cli.app, [*arguments, "--embedding", str(embedding)]).exception

    assert isinstance(clone(kept), PrivacyError)
    assert not voice.exists()
    assert clone(released) is None
    carried = load_profile(voice, base=own).embedding
    assert carried is not None
    assert torch.equal(carried.vector, load_embedding(released).vector)
    unpaid = SpeakerEmbedding(torch.zeros(3), "x_vector", "hash")
    with pytest.raises(PrivacyError, match="released with an epsilon"):
        save_profile(
            tmp_path / "p", VoiceProfile(Voice({"embedding": torch.zeros(1, 4)}), own, "p", None, unpaid)
        )
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        (["--encoder", "z_vector"], RecipeError, "choose among d_vector, x_vector, ecapa, mel_style"),
        (["--encoder", "ecapa"], RecipeError, "needs weights"),
        (["--encoder", "mel_style", "--weights", "x"], RecipeError, "name that with --base"),
        (["--encoder", "ecapa", "--base", "x"], RecipeError, "for mel_style"),
        (["--encoder", "ecapa", "--weights", "nowhere.safetensors"], CheckpointError, "cannot be read"),
        (["--budget", "3"], PrivacyError, "give --epsilon"),
    ],
)
def test_wishes_that_cannot_be_met_are_told(
    more: list[str], error: type[Exception], said: str, recordings: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        embed(recordings, tmp_path / "e", *more)


def test_a_folder_without_recordings_is_told(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no audio"):
        embed(tmp_path, tmp_path / "e", *x_vector(weights))
    (tmp_path / "a.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="no usable recording"):
        embed(tmp_path, tmp_path / "e", *x_vector(weights))


def test_a_damaged_embedding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_embedding(tmp_path / "e")
