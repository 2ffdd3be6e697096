"""Encoders as sources: frozen from a file, or training with the model; and the classification beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from heard_signals import FRONT, FROZEN, front_file, model_of, recipe_of, references, speech
from three_rounds import small_paper, speaks_from_its_file, three_rounds
from tiny_federation import task_of, tiny_model
from torchaudio.models import wav2vec2_model

from client.home.policy import Policy
from client.learning.local_round import Material, local_round
from shared_models.acoustic import build_model
from shared_models.errors import CheckpointError, RecipeError
from shared_models.features import collate
from shared_models.federated_model import federated_voice_model
from shared_models.losses import acoustic_loss
from shared_models.partition import Owner, PartitionedModel
from shared_models.speakers.classifier import SpeakerClassifier
from shared_models.speakers.encoders.encoder import build_encoder
from shared_models.speakers.encoders.encoder_file import save_encoder
from shared_models.speakers.heard import Heard
from shared_models.speakers.sources.self_supervised import load_front, save_front


def encoder_file(folder: Path, norm: str = "batch", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    path = folder / f"{norm}-{seed}.safetensors"
    save_encoder(path, "x_vector", build_encoder("x_vector", channels=8, aggregated=12, width=6, norm=norm))
    return path


def test_an_encoder_from_a_file_is_frozen_and_part_of_the_schema(tmp_path: Path) -> None:
    first, second = (encoder_file(tmp_path, seed=seed) for seed in (0, 1))
    recipe = recipe_of("x_vector", speaker__encoders={"x_vector": str(first)})
    model = tiny_model(recipe)
    frozen = model.partition.names(Owner.FROZEN)
    assert "x_vector.encoder.network.layers.0.norm.norm.running_var" in frozen
    assert not any("encoder" in t.name for t in model.partition.shared if t.name.startswith("x_vector."))
    other = tiny_model(recipe_of("x_vector", speaker__encoders={"x_vector": str(second)}))
    assert other.partition.schema != model.partition.schema
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items() if name in frozen}
    model.model.train()
    local_round(model, model.shared_vector(), Material.split(speech(4), 0.5), task_of(recipe))
    after = model.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_an_encoder_goes_on_training_if_it_may(tmp_path: Path) -> None:
    path = encoder_file(tmp_path, "layer")
    changes = {"speaker__encoders": {"x_vector": str(path)}, "speaker__joint": ["x_vector"]}
    recipe = recipe_of("x_vector", **changes)
    model = tiny_model(recipe)
    assert not model.partition.names(Owner.FROZEN)
    done = local_round(model, model.shared_vector(), Material.split(speech(4), 0.5), task_of(recipe))
    assert done.update is not None
    spec = next(t for t in model.partition.shared if t.name == "x_vector.encoder.layers.0.conv.conv.weight")
    assert bool(done.update.vector[spec.start : spec.stop].any())
    batch_norms = changes | {"speaker__encoders": {"x_vector": str(encoder_file(tmp_path))}}
    with pytest.raises(RecipeError, match=r"batch norms.*encoder\.norm = 'layer'"):
        tiny_model(recipe_of("x_vector", **batch_norms))


def test_paths_are_not_told_to_others(tmp_path: Path) -> None:
    recipe = recipe_of("x_vector", speaker__encoders={"x_vector": str(encoder_file(tmp_path))})
    assert recipe.without_folders().speaker.encoders == {"x_vector": "batch-0.safetensors"}


def test_a_name_alone_is_a_file_of_the_owner_s_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "fedvoice" / "encoders"
    folder.mkdir(parents=True)
    encoder_file(folder)
    recipe = recipe_of("x_vector", speaker__encoders={"x_vector": "batch-0.safetensors"})
    assert tiny_model(recipe).partition.frozen
    assert Policy(modes=("none",)).refusal(recipe) is None
    elsewhere = recipe.override({"speaker.encoders": {"x_vector": str(folder / "batch-0.safetensors")}})
    assert "a place on this device" in str(Policy(modes=("none",)).refusal(elsewhere))


def test_a_missing_or_foreign_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        model_of("ecapa", speaker__encoders={"ecapa": str(tmp_path / "none.safetensors")})
    with pytest.raises(CheckpointError, match="kind 'x_vector'"):
        model_of("ecapa", speaker__encoders={"ecapa": str(encoder_file(tmp_path))})


def test_a_long_reference_is_heard_in_parts_of_the_length_of_training() -> None:
    model = model_of("d_vector").model.eval()
    source = model.get_submodule("d_vector")
    rng = torch.Generator().manual_seed(1)
    values = torch.rand(2, 330, 40, generator=rng)
    with torch.no_grad():
        found = source._of_parts(values, torch.tensor([330, 130]))  # type: ignore[operator]
        parts = [source.encoder(values[:1, start : start + 160]) for start in (0, 80, 160)]  # type: ignore[operator]
        short = source.encoder(values[1:, :130])  # type: ignore[operator]
    torch.testing.assert_close(found[0], torch.stack(parts).mean(0)[0])
    torch.testing.assert_close(found[1], short[0])


# Several speakers in one place


def test_the_classification_is_the_cross_entropy_of_whoever_is_heard() -> None:
    classifier = SpeakerClassifier(4, 3)
    with torch.no_grad():
        classifier.weight.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    embedding = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    rows, heard = torch.tensor([2, 0, -1, 1]), torch.tensor([True, True, True, False])
    lost = classifier(embedding, rows, heard)
    scores = embedding @ classifier.weight.T
    expected = [F.cross_entropy(scores[i : i + 1], rows[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(lost, torch.stack([*expected, torch.tensor(0.0), torch.tensor(0.0)]))


def test_it_exists_where_several_speakers_train_and_changes_nothing_else() -> None:
    plain = recipe_of("x_vector")
    weighed = plain.override({"speaker.classification_weight": 0.5})
    alone, several = build_model(weighed), build_model(weighed, voices=3)
    assert alone.classifier is None
    shared = [PartitionedModel(m).shared_vector() for m in (build_model(plain), alone, several)]
    assert torch.equal(shared[0], shared[1])
    assert torch.equal(shared[0], shared[2])
    assert "classifier.weight" in PartitionedModel(several).partition.names(Owner.PERSONAL)
    utterances = speech(3)
    batch = collate(utterances, references(utterances), speakers=[0, 1, 2])
    several.eval()
    with torch.no_grad():
        uniform = acoustic_loss(several(batch), batch).penalty
    assert uniform is not None
    torch.testing.assert_close(uniform, 0.5 * torch.log(torch.tensor(3.0)))


def test_what_is_heard_learns_to_tell_the_speakers_apart() -> None:
    model = build_model(recipe_of("x_vector").override({"speaker.classification_weight": 1.0}), voices=3)
    heard = Heard.of(references(speech(3)), torch.tensor([0, 1, 2]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        penalty = model._voice(heard)[1]
        assert penalty is not None
        penalty.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(penalty.detach().sum()))
    assert losses[-1] < 0.3 * losses[0]


# Self-supervised fronts


def test_a_front_is_torchaudios_and_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(2)
    front = wav2vec2_model(**FRONT).eval()
    save_front(tmp_path / "f.safetensors", front, FRONT)
    loaded = load_front(tmp_path / "f.safetensors")
    wave = torch.randn(1, 4000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for ours, theirs in zip(
            loaded.extract_features(wave)[0], front.extract_features(wave)[0], strict=True
        ):
            assert torch.equal(ours, theirs)


def test_a_front_that_cannot_be_read_or_trained_is_told(tmp_path: Path) -> None:
    (tmp_path / "f.safetensors").write_bytes(b"nothing")
    torch.save({"a": torch.zeros(1)}, tmp_path / "f.pth")
    for name in ("f.safetensors", "f.pth"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_front(tmp_path / name)
    with pytest.raises(RecipeError, match="names no weights for 'hubert'"):
        model_of("hubert", speaker__encoders={})
    with pytest.raises(RecipeError, match="frozen front"):
        model_of("hubert", speaker__joint=["hubert"], speaker__encoders={"hubert": str(front_file())})


@pytest.mark.parametrize("kind", FROZEN)
def test_a_recipe_of_a_front_takes_a_local_file_and_trains_all_but_the_front(
    kind: str, tmp_path: Path
) -> None:
    recipe = small_paper(kind, speaker__encoders={kind: str(front_file())})
    model = federated_voice_model(recipe)
    assert len(model.partition.names(Owner.FROZEN)) == len(load_front(front_file()).state_dict())
    trained = ("mixture", "norm.weight", "norm.bias", "projection.weight", "projection.bias")
    assert {t.name for t in model.partition.shared if t.name.startswith(f"{kind}.")} == {
        f"{kind}.{name}" for name in trained
    }
    weights = three_rounds(recipe, speech)
    speaks_from_its_file(recipe, weights, tmp_path / "me.voice.safetensors", speech)


def test_another_front_is_another_model(tmp_path: Path) -> None:
    torch.manual_seed(9)
    save_front(tmp_path / "other.safetensors", wav2vec2_model(**FRONT), FRONT)
    other = model_of("hubert", speaker__encoders={"hubert": str(tmp_path / "other.safetensors")})
    assert other.partition.schema != model_of("hubert").partition.schema


def test_a_recipe_whose_front_is_not_there_says_what_to_bring() -> None:
    with pytest.raises(
        CheckpointError, match=r"wav2vec2_fairseq_base_ls960\.pth cannot be read.*--set speaker"
    ):
        federated_voice_model(small_paper("wav2vec2"))
