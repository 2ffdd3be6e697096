"""A student learns from its teacher, the same every time, interrupted or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_federation import features_of_tests, random_speech, shaken, tiny_model, tiny_recipe
from torch import Tensor

from client.cloning import voice_of_nobody
from server.checkpoints import load_checkpoint
from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.base_model import BaseModel, load_base
from shared_models.config import Recipe
from shared_models.errors import CheckpointError, RecipeError
from shared_models.export.depth import cut
from shared_models.features import collate
from shared_models.losses import acoustic_loss
from shared_models.partition import PartitionedModel
from shared_models.seeds import generator
from shared_models.vocoders import packaged_vocoder
from simulations.deployment import distillation, tuning
from simulations.deployment.distillation import distil, smaller_model, taught_loss
from simulations.deployment.forms import Source
from simulations.deployment.imitation import Imitation
from simulations.deployment.tuning import Tuning, prepare_tuning, save_base
from simulations.preparation import Prepared

RECIPE = tiny_recipe(
    aligner__learn="never", model__encoder_layers=2, model__decoder_layers=2, model__dropout=0.1
)
TUNING = Tuning(steps=60, lr=3e-3, batch_size=2)


def teacher_in(folder: Path, recipe: Recipe = RECIPE) -> BaseModel:
    model = shaken(tiny_model(recipe))
    path = folder / "teacher.safetensors"
    save_base(path, BaseModel(model, recipe, ""), recipe)
    return load_base(path)


@pytest.fixture(autouse=True)
def _short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "STEPS_A_ROUND", 20)


@pytest.fixture(scope="module")
def data() -> Prepared:
    return prepare_tuning(RECIPE, replace(TUNING, cache=features_of_tests()))


def test_the_loss_falls_and_the_student_is_a_smaller_base(tmp_path: Path, data: Prepared) -> None:
    teacher = teacher_in(tmp_path)
    losses: list[float] = []
    student = distil(
        teacher, {"model.hidden": 8, **smaller_model(RECIPE)}, data, TUNING, tmp_path / "student",
        on_round=lambda _number, loss: losses.append(loss),
    )  # fmt: skip
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]
    d = student.model.model.dimensions
    assert (d.hidden, d.encoder_layers, d.decoder_layers, d.filter) == (8, 1, 1, 16)
    assert all((voice == 0).all() for voice in student.model.personal_parameters())
    again = load_base(tmp_path / "student" / "base.safetensors")
    assert again.hash == student.hash
    # Its recipe clones as the teacher's does: only the sizes are new.
    assert again.recipe.client == teacher.recipe.client
    assert again.recipe.cloning == teacher.recipe.cloning


def test_a_student_cut_from_its_teacher_comes_nearer_to_it_and_speaks_in_its_voices(
    tmp_path: Path, data: Prepared
) -> None:
    teacher, changes = teacher_in(tmp_path), smaller_model(RECIPE)
    voice = voice_of_nobody(teacher.model)
    student = distil(teacher, changes, data, TUNING, tmp_path / "student", voices=[voice])
    begun = cut(teacher.model.model, RECIPE, RECIPE.override(changes))
    speech = random_speech(4)
    batch = collate(speech, [f.reference for f in speech])

    def distance(model: VoiceModel) -> float:
        with torch.no_grad():
            lesson = Imitation(teacher.model.model, model, None, [voice])
            return lesson(batch, generator(7, "x")).item()

    assert distance(student.model.model) < 0.8 * distance(begun)
    before, after = begun.state_dict(), student.model.model.state_dict()
    sources = [name for name in before if not name.startswith(("acoustic.", "voices."))]
    assert all(torch.equal(before[name], after[name]) for name in sources)
    spoken = Source(teacher, packaged_vocoder(), voice=voice).speaker(student)
    assert torch.equal(spoken["cln_scale"], voice["cln_scale"][:, [2, 3, 4]])
    # Another choice of voices is another training.
    with pytest.raises(CheckpointError, match="holds a training of another base"):
        distil(teacher, changes, data, TUNING, tmp_path / "student")


def test_interrupted_and_called_again_the_student_is_the_same(
    tmp_path: Path, data: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, changes = teacher_in(tmp_path), smaller_model(RECIPE)
    monkeypatch.setattr(tuning, "STEPS_A_ROUND", 3)
    short = replace(TUNING, steps=9)
    whole = distil(teacher, changes, data, short, tmp_path / "whole")

    def stop(number: int, _loss: float) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(teacher, changes, data, short, tmp_path / "torn", on_round=stop)
    rounds: list[int] = []
    resumed = distil(teacher, changes, data, short, tmp_path / "torn", on_round=lambda n, _: rounds.append(n))
    assert rounds == [3]
    assert torch.equal(resumed.model.shared_vector(), whole.model.shared_vector())
    names = [path.name for path in sorted((tmp_path / "whole" / "training").glob("round-*"))]
    assert names == ["round-00002.safetensors", "round-00003.safetensors"]
    moments = [
        load_checkpoint(tmp_path / name / "training" / names[-1]).optimizer for name in ("whole", "torn")
    ]
    assert all(torch.equal(moments[0][name], moments[1][name]) for name in moments[0])


def test_a_folder_of_another_training_is_refused(tmp_path: Path, data: Prepared) -> None:
    teacher = teacher_in(tmp_path)
    short = replace(TUNING, steps=1)
    distil(teacher, smaller_model(RECIPE), data, short, tmp_path / "student")
    with pytest.raises(CheckpointError, match="holds a training of another base"):
        distil(teacher, {"model.filter": 8}, data, short, tmp_path / "student")


def test_a_student_differs_in_its_model_alone(tmp_path: Path, data: Prepared) -> None:
    with pytest.raises(RecipeError, match=r"not in 'client\.outer_lr'"):
        distil(teacher_in(tmp_path), {"client.outer_lr": 1.0}, data, TUNING, tmp_path / "student")


def test_a_teacher_without_an_aligner_needs_alignments(tmp_path: Path) -> None:
    teacher = teacher_in(tmp_path)
    speech = random_speech(2, aligned=False)
    batch = collate(speech, [f.reference for f in speech])
    with pytest.raises(RecipeError, match="come without alignments"):
        taught_loss(teacher.model.model, build_model(RECIPE), batch, RECIPE, generator(1, "x"))


def test_an_aligner_is_taught_where_the_teacher_has_one(tmp_path: Path) -> None:
    recipe = RECIPE.override({"aligner.learn": "always"})
    teacher, student = teacher_in(tmp_path, recipe).model.model, PartitionedModel(build_model(recipe))
    speech = random_speech(3, aligned=False)
    batch = collate(speech, [f.reference for f in speech])
    torch.autograd.backward(taught_loss(teacher, student.model, batch, recipe, generator(1, "x")))
    aligner = student.model.aligner
    assert aligner is not None
    assert all(p.grad is not None for p in aligner.parameters())
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_loss_is_the_weighted_sum_of_two_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Computed another way: without a window, from the mean absolute and squared differences themselves."""
    recipe = RECIPE.override({"client.window_frames": None, "model.dropout": 0.0})
    teacher = teacher_in(tmp_path, recipe).model.model.eval()
    student = shaken(tiny_model(recipe), 0.02).model.eval()
    speech = random_speech(1)
    batch = collate(speech, [speech[0].reference])
    monkeypatch.setattr(distillation, "TAUGHT", share)
    found = taught_loss(teacher, student, batch, recipe, generator(1, "x"))
    with torch.no_grad():
        shown, output = teacher(batch), student(batch)
    true = acoustic_loss(output, batch).total

    def squared(name: str) -> Tensor:
        mine, theirs = getattr(output.predicted, name), getattr(shown.predicted, name)
        return (mine - theirs).square().mean()

    taught = (output.mel - shown.mel).abs().mean() + sum(map(squared, ("log_duration", "pitch", "energy")))
    assert found.item() == pytest.approx(((1 - share) * true + share * taught).item(), rel=1e-4)
