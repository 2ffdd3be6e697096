"""Pruning a base in stages, with training between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_federation import (
    features_of_tests,
    read_table,
    same,
    shaken,
    small_corpus,
    tiny_model,
    tiny_recipe,
    write_table,
)

from shared_models.acoustic import build_model
from shared_models.base_model import BaseModel, load_base
from shared_models.errors import CheckpointError, RecipeError
from shared_models.export.pruning import ConvNeXtVocoder, prune_acoustic, prune_convnext
from shared_models.judges import Judges
from shared_models.mel_discriminator import MelDiscriminator
from shared_models.seeds import generator
from shared_models.vocoders import NeuralVocoder, load_vocoder
from shared_models.vocoders.hifigan import V3, HiFiGan
from shared_models.vocoders.magnitude import MagnitudeDimensions, MagnitudeNetwork
from shared_models.vocoders.vocos import Vocos, VocosDimensions
from simulations.corpora.aligner_file import save_aligner, with_aligner
from simulations.deployment import pruned_vocoder
from simulations.deployment.pruned_base import Pruning, prune_base, stage_widths
from simulations.deployment.pruned_vocoder import prune_vocoder, tune_by_original
from simulations.deployment.tuning import Tuning, prepare_tuning, save_base

RECIPE = tiny_recipe(aligner__learn="never", model__filter=128)
TUNING = Tuning(steps=40, batch_size=2, cache=features_of_tests())


@pytest.fixture
def base(tmp_path: Path) -> BaseModel:
    path = tmp_path / "base.safetensors"
    made = BaseModel(shaken(tiny_model(RECIPE)), RECIPE, "", Judges(MelDiscriminator(4)))
    save_base(path, made, RECIPE)
    return load_base(path)


def same_discriminator(one: BaseModel, other: BaseModel) -> bool:
    """Whether clones of both are made against the same one."""
    assert one.judges.discriminator is not None
    assert other.judges.discriminator is not None
    return same(one.judges.discriminator.state_dict(), other.judges.discriminator.state_dict())


def size(base: BaseModel) -> int:
    return sum(parameter.numel() for parameter in base.model.model.acoustic.parameters())


def test_without_training_it_is_pruning_alone(base: BaseModel, tmp_path: Path) -> None:
    pruned = prune_base(base, Pruning(1.5), tmp_path / "out")
    width = pruned.model.model.dimensions.filter
    expected, _ = prune_acoustic(base.model.model, base.recipe, width)
    for name, tensor in expected.state_dict().items():
        if not name.startswith("voices."):
            assert torch.equal(tensor, pruned.model.model.state_dict()[name]), name
    assert size(base) >= 1.5 * size(pruned)
    assert load_base(tmp_path / "out" / "base.safetensors").hash == pruned.hash
    assert pruned.recipe == base.recipe.override({"model.filter": width})
    assert same_discriminator(pruned, base)


@pytest.mark.parametrize("bring", [True, False])
def test_a_base_with_an_aligner_is_tuned_on_recordings_with_and_without_alignments(
    base: BaseModel, tmp_path: Path, bring: bool
) -> None:
    made = tiny_recipe(aligner__learn="always")
    save_aligner(tmp_path / "aligner.safetensors", build_model(made), made)
    given = with_aligner(base, tmp_path / "aligner.safetensors")
    speech = small_corpus(tmp_path / "speech", train=2, test=1)
    if not bring:
        write_table(speech, [row | {"alignment": ""} for row in read_table(speech)])
    tuning = replace(TUNING, steps=2, corpus=str(speech))
    data = prepare_tuning(given.recipe, tuning)
    pruned = prune_base(given, Pruning(1.5, stages=1), tmp_path / "out", tuning, data)
    assert pruned.model.model.aligner is not None
    assert same_discriminator(pruned, base)
    assert load_base(tmp_path / "out" / "base.safetensors").hash == pruned.hash


def test_stages_fall_by_equal_factors_to_the_last(base: BaseModel) -> None:
    model = base.model.model
    last = stage_widths(model, Pruning(1.5, stages=1))
    assert len(last) == 1
    for stages in (2, 3, 9):
        widths = stage_widths(model, Pruning(1.5, stages))
        assert widths == sorted(set(widths), reverse=True)
        assert widths[-1] == last[0]
        assert all(width < model.dimensions.filter for width in widths)
    first, middle = model.dimensions.filter, stage_widths(model, Pruning(1.5, 2))[0]
    assert middle == pytest.approx((first * last[0]) ** 0.5, abs=4)


def test_training_resumes_and_ends_alike(base: BaseModel, tmp_path: Path) -> None:
    data = prepare_tuning(base.recipe, TUNING)
    seen: list[tuple[int, int]] = []
    whole = prune_base(
        base, Pruning(1.5), tmp_path / "whole", TUNING, data, lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 2), (2, 2)]

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_base(base, Pruning(1.5), tmp_path / "torn", TUNING, data, stop)
    assert load_base(tmp_path / "torn" / "base.safetensors").model.model.dimensions.filter > 0
    resumed = prune_base(base, Pruning(1.5), tmp_path / "torn", TUNING, data)
    assert resumed.hash == whole.hash != base.hash
    with pytest.raises(CheckpointError, match="holds a training of another base"):
        prune_base(base, Pruning(1.5), tmp_path / "whole", replace(TUNING, lr=0.1), data)


def test_a_vocoder_is_pruned_and_trained_by_what_is_passed_in(tmp_path: Path) -> None:
    dimensions = VocosDimensions(width=16, hidden=256, blocks=2)
    vocoder = NeuralVocoder(Vocos(dimensions), "vocos", dimensions, {"licence": "none"})
    seen: list[Vocos] = []

    def tune(network: ConvNeXtVocoder) -> ConvNeXtVocoder:
        assert isinstance(network, Vocos)
        seen.append(network)
        assert all(parameter.requires_grad for parameter in network.parameters())
        with torch.no_grad():
            network.head.bias.fill_(-9.0)
        return network

    pruned = prune_vocoder(vocoder, 1.2, tmp_path / "vocoder.safetensors", tune)
    assert seen[0].dimensions.hidden < 256
    assert (next(p for n, p in pruned.generator.named_parameters() if n == "head.bias") == -9.0).all()
    assert load_vocoder(tmp_path / "vocoder.safetensors").notes["licence"] == "none"
    with pytest.raises(RecipeError, match="'hifigan_v3' has no channels that can be pruned alone"):
        prune_vocoder(NeuralVocoder(HiFiGan(V3), "hifigan_v3", V3), 1.2, tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", ["vocos", "magnitude"])
def test_a_pruned_vocoder_comes_nearer_to_the_one_it_was_cut_from_the_same_every_time(kind: str) -> None:
    torch.manual_seed(4)
    whole: ConvNeXtVocoder = (
        Vocos(VocosDimensions(width=16, hidden=64, blocks=1))
        if kind == "vocos"
        else MagnitudeNetwork(MagnitudeDimensions(width=16, hidden=64, blocks=1))
    )
    with torch.no_grad():
        # Untrained blocks write next to nothing, so that nothing would be missed of them.
        for parameter in (*whole.blocks.parameters(), whole.head.weight):
            parameter.normal_(std=0.3)
    whole.requires_grad_(False)
    mels = [torch.randn(90, 80, generator=generator(n, "mel")) - 4 for n in range(6)]
    heard = torch.randn(1, 64, 80, generator=generator(9, "mel")) - 4

    def distance(network: ConvNeXtVocoder) -> float:
        with torch.no_grad():
            return float(
                pruned_vocoder._distance(*(pruned_vocoder._spectrum(n, heard) for n in (network, whole)))
            )

    def trained(steps: int) -> ConvNeXtVocoder:
        return tune_by_original(whole, mels, steps)(prune_convnext(whole, 32).requires_grad_(True))

    assert distance(trained(120)) < 0.7 * distance(prune_convnext(whole, 32))
    first, second = trained(2), trained(2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_vocoder_is_not_trained_on_recordings_that_are_too_short() -> None:
    with pytest.raises(RecipeError, match="bring longer ones"):
        tune_by_original(Vocos(VocosDimensions(width=16, hidden=64, blocks=1)), [torch.zeros(63, 80)], 1)
