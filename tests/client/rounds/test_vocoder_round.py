"""A device's round of vocoder training: what moves, what travels, and what stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_federation import small_corpus, task_of

from client.home.device import Device
from client.rounds.vocoder_round import VocoderPartition, train_vocoder_on_device, vocoder_round
from shared_models import wire
from shared_models.config import Recipe
from shared_models.errors import CorpusError
from shared_models.partition import Owner, PartitionedModel
from shared_models.utterance import Utterance
from shared_models.vocoders.adversarial_model import AdversarialVocoder
from simulations.corpora import open_corpus


def recipe_of(**changes: object) -> Recipe:
    vocoder = {"width": 16, "hidden": 16, "blocks": 1, "batch_size": 2, "segment_frames": 8,
               "discriminators": ["period"], "discriminator_widths": [0.01], "discriminate_every": 1}  # fmt: skip
    plain = {"trains": "vocoder", "vocoder": vocoder, "client.outer_steps": 2, "federation.rounds": 3}
    return Recipe().override(plain | changes)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    root = small_corpus(tmp_path_factory.mktemp("vocoder") / "corpus", train=2, utterances=3)
    speakers = open_corpus(Recipe().override({"corpus.path": str(root)}).corpus).speakers("train")
    return list(next(iter(speakers.values())))


@pytest.fixture
def model() -> VocoderPartition:
    return PartitionedModel(AdversarialVocoder(recipe_of()))


def test_the_generator_is_shared_and_every_discriminator_is_personal(model: VocoderPartition) -> None:
    owners = model.partition.owners
    trained = {name for name, _ in model.model.named_parameters()}
    assert {n for n in trained if owners[n] is Owner.SHARED} == {
        n for n in trained if n.startswith("generator.")
    }
    assert {n for n in trained if owners[n] is Owner.PERSONAL} == {
        n for n in trained if n.startswith("discriminators.")
    }
    assert model.partition.size == sum(p.numel() for p in model.model.generator.parameters())


def test_spectral_norms_buffers_stay_with_the_discriminators() -> None:
    recipe = recipe_of(**{"vocoder.discriminators": ["scale"]})
    partition = PartitionedModel(AdversarialVocoder(recipe)).partition
    assert any("_u" in name for name in partition.names(Owner.PERSONAL))
    assert all(tensor.name.startswith("generator.") for tensor in partition.shared)


def test_both_sides_of_the_game_move(model: VocoderPartition, recordings: list[Utterance]) -> None:
    weights = model.shared_vector()
    judges = model.personal_state()
    done = vocoder_round(model, weights, recordings, task_of(recipe_of(), 1, 0))
    assert torch.equal(done.update.vector, model.shared_vector() - weights)
    assert done.update.vector.norm() > 0
    assert any(not torch.equal(judges[n], t) for n, t in model.personal_state().items())
    assert len(done.losses) == 2


def test_a_round_depends_on_its_arguments_alone(model: VocoderPartition, recordings: list[Utterance]) -> None:
    weights, judges = model.shared_vector(), model.personal_state()
    first = vocoder_round(model, weights, recordings, task_of(recipe_of(), 2, 1)).update.vector.clone()
    torch.rand(7)
    model.load_personal_state(judges)
    again = vocoder_round(model, weights, recordings, task_of(recipe_of(), 2, 1)).update.vector.clone()
    model.load_personal_state(judges)
    other = vocoder_round(model, weights, recordings, task_of(recipe_of(), 2, 0)).update.vector
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_personal_is_encoded(model: VocoderPartition, recordings: list[Utterance]) -> None:
    done = vocoder_round(model, model.shared_vector(), recordings, task_of(recipe_of(), 1, 0))
    header, buffer = wire.encode(model, done.update)
    sent = bytes(buffer)
    assert header["size"] == model.partition.size
    assert len(sent) == 4 * model.partition.size
    for name, tensor in model.personal_state().items():
        if tensor.numel() >= 4:
            assert tensor.numpy().tobytes() not in sent, name


def test_a_device_keeps_its_discriminators_between_rounds(
    model: VocoderPartition, recordings: list[Utterance], tmp_path: Path
) -> None:
    device = Device.create(tmp_path / "home", "somebody", recordings, tmp_path / "cache")
    weights, fresh = model.shared_vector(), model.personal_state()
    recipe = recipe_of()
    train_vocoder_on_device(model, weights, device, task_of(recipe, 1))
    after_one = model.personal_state()
    train_vocoder_on_device(model, weights, device, task_of(recipe, 2))
    after_two = model.personal_state()
    # Another client was here in between, in the same process: a fresh device starts from the recipe's own.
    other = Device.create(tmp_path / "other", "other", recordings, tmp_path / "cache")
    train_vocoder_on_device(model, weights, other, task_of(recipe, 1))
    assert all(torch.equal(model.personal_state()[n], after_one[n]) for n in fresh)
    train_vocoder_on_device(model, weights, device, task_of(recipe, 2))
    assert all(torch.equal(model.personal_state()[n], after_two[n]) for n in fresh)
    assert any(not torch.equal(after_one[n], after_two[n]) for n in fresh)


def test_recordings_that_are_too_short_are_told_of(
    model: VocoderPartition, recordings: list[Utterance]
) -> None:
    recipe = recipe_of(**{"vocoder.segment_frames": 4000})
    with pytest.raises(CorpusError, match="no recording holds the 4000 frames"):
        vocoder_round(model, model.shared_vector(), recordings, task_of(recipe, 1, 0))


@pytest.mark.parametrize("kind", ["magnitude", "diffwave", "vocos"])
def test_every_kind_of_generator_has_a_round(kind: str, recordings: list[Utterance]) -> None:
    size = {"width": 8} if kind == "diffwave" else {"width": 16, "hidden": 16, "blocks": 1}
    recipe = recipe_of().override({"vocoder": {"kind": kind, "batch_size": 2, "segment_frames": 8, "discriminators": [],
                                               **size}})  # fmt: skip
    own = PartitionedModel(AdversarialVocoder(recipe))
    done = vocoder_round(own, own.shared_vector(), recordings, task_of(recipe, 1, 0))
    assert done.update.vector.norm() > 0
    assert all(loss > 0 for loss in done.losses)


def test_a_damaged_recording_is_passed_over(
    model: VocoderPartition, recordings: list[Utterance], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF nothing")
    damaged = replace(recordings[0], audio=broken)
    weights = model.shared_vector()
    grid = tmp_path / "lost.TextGrid"
    unaligned = replace(recordings[1], alignment=grid)
    done = vocoder_round(model, weights, [damaged, unaligned, *recordings[2:]], task_of(recipe_of(), 1, 0))
    assert done.losses
    assert sorted(str(path) in " ".join(done.left_out) for path in (broken, grid)) == [True, True]
    with pytest.raises(CorpusError, match="no recording holds"):
        vocoder_round(model, weights, [damaged], task_of(recipe_of(), 1, 0))
