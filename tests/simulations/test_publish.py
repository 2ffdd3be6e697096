"""What is published of a run: the shared weights, and synthetic voices alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_federation import features_of_tests, read_table, small_corpus, tiny_recipe, write_table
from torch import Tensor

from client.profile import load_profile
from shared_models.acoustic import build_model
from shared_models.base_model import load_base
from shared_models.errors import CheckpointError, CorpusError, RecipeError
from shared_models.partition import weights_hash
from shared_models.tensor_file import read_tensors
from simulations.centralised import train_centralised
from simulations.corpora.aligner_file import save_aligner
from simulations.preparation import prepare
from simulations.publish import publish
from simulations.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("publish")
    corpus = small_corpus(folder / "corpus", train=3, test=1, utterances=4)
    rows = read_table(corpus)
    real = rows[0]["speaker_id"]
    write_table(corpus, [row | ({"speaker_id": "ada"} if row["speaker_id"] == real else {}) for row in rows])
    recipe = tiny_recipe(
        corpus__path=str(corpus),
        federation__algorithm="centralised",
        federation__rounds=1,
        adversarial__weight=0.5,
        adversarial__channels=4,
    )
    made = RunFolder.create(folder / "run", recipe)
    data = prepare(recipe, features_of_tests())
    train_centralised(data.recipe, data, made.arm("centralised").checkpoints)
    return made.path


def speakers_of(run: Path) -> list[str]:
    recipe = RunFolder(run).recipe()
    return list(prepare(recipe, features_of_tests()).train)


def in_half_precision(weights: Tensor) -> Tensor:
    """As a published base is kept on disk."""
    return weights.half().float()


def test_a_published_base_is_the_runs_and_tells_no_path(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    synthetic = [name for name in speakers_of(run) if name.startswith("k_")]
    written = publish(run, "centralised", synthetic[:1], tmp_path)
    base, own = load_base(tmp_path / "acoustic.safetensors"), load_base(run, "centralised")
    assert torch.equal(base.model.shared_vector(), in_half_precision(own.model.shared_vector()))
    assert str(run.parent).encode() not in (tmp_path / "acoustic.safetensors").read_bytes()
    for path in written[1:]:
        profile = load_profile(path, base=base.hash)
        assert torch.isfinite(profile.voice["embedding"]).all()


def test_a_base_is_published_with_the_discriminator_that_it_was_trained_against(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    voice = next(name for name in speakers_of(run) if name.startswith("k_"))
    publish(run, "centralised", [voice], tmp_path)
    found, own = load_base(tmp_path / "acoustic.safetensors"), load_base(run, "centralised")
    assert found.judges.discriminator is not None
    assert own.judges.discriminator is not None
    learnt = own.judges.discriminator.state_dict()
    for name, value in found.judges.discriminator.state_dict().items():
        assert torch.equal(value, in_half_precision(learnt[name]))
    # It comes along where the base is prepared for other voices, and where a file of it is damaged that is said.
    assert found.adapted({"personal": "vectors+lora"}).judges.discriminator is found.judges.discriminator
    header, tensors = read_tensors(tmp_path / "acoustic.safetensors", "", "")
    score = "discriminator.score.weight"
    for wrong in (tensors[score] * torch.inf, tensors[score][:, :3], tensors[score][0]):
        save_file({**tensors, score: wrong.contiguous()}, tmp_path / "wrong.safetensors", header)
        with pytest.raises(CheckpointError, match="discriminator in the checkpoint"):
            load_base(tmp_path / "wrong.safetensors")


def test_how_a_base_speaks_is_set_when_it_is_published_and_what_was_trained_is_not(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    voice = next(name for name in speakers_of(run) if name.startswith("k_"))
    wished = {"model.pitch_spread": 1.6, "model.contrast": 0.0, "cloning.adversarial": 0.5}
    publish(run, "centralised", [voice], tmp_path, spoken=wished)
    base, own = load_base(tmp_path / "acoustic.safetensors"), load_base(run, "centralised")
    assert base.hash == weights_hash(in_half_precision(own.model.shared_vector()))
    assert base.model.model.dimensions.pitch_spread == 1.6
    assert base.model.model.dimensions.contrast == 0.0
    assert base.recipe.cloning.adversarial == 0.5
    with pytest.raises(RecipeError, match=r"model\.filter is part of what was trained"):
        publish(run, "centralised", [voice], tmp_path / "none", spoken={"model.filter": 8})
    assert not (tmp_path / "none").exists()


def test_a_base_is_published_with_an_aligner_or_not_at_all(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    recipe = tiny_recipe(aligner__learn="always")
    aligner = tmp_path / "aligner.safetensors"
    save_aligner(aligner, build_model(recipe), recipe)
    voice = next(name for name in speakers_of(run) if name.startswith("k_"))
    plain, full = tmp_path / "plain", tmp_path / "full"
    publish(run, "centralised", [voice], plain)
    publish(run, "centralised", [voice], full, aligner)
    bases = [load_base(folder / "acoustic.safetensors") for folder in (plain, full)]
    assert [base.model.model.aligner is not None for base in bases] == [False, True]
    voices = [
        load_profile(next(folder.rglob("*.voice.*")), base=base.hash).voice
        for folder, base in zip((plain, full), bases, strict=True)
    ]
    said = [
        base.model.model.synthesize(torch.tensor([[5, 9, 30, 12]]), torch.tensor([4]), voice)[0]
        for base, voice in zip(bases, voices, strict=True)
    ]
    assert torch.equal(said[0], said[1])

    aligner.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="the aligner"):
        publish(run, "centralised", [voice], tmp_path / "none", aligner)
    assert not (tmp_path / "none").exists()


def test_no_other_voice_is_published(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    assert "ada" in speakers_of(run)
    for name in ("nobody", "ada"):
        with pytest.raises(CorpusError, match="no other may be published"):
            publish(run, "centralised", [name], tmp_path)


def test_a_run_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        publish(tmp_path, "centralised", [], tmp_path)
