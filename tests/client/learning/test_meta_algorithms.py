"""MAML, FOMAML, ANIL and Reptile: their updates against finite differences, derivatives by hand and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_grid import FakeGrid
from tiny_federation import (
    in_float64,
    personal_copy,
    random_speech,
    same,
    shaken,
    task_of,
    tiny_model,
    tiny_recipe,
)
from torch import Tensor
from torch.func import functional_call

from client.cloning import adapt_privately
from client.home.device import Device
from client.home.ledger import Ledger
from client.home.policy import Policy
from client.learning import meta_steps as module
from client.learning.inner_loop import take_inner_steps
from client.learning.local_round import local_round
from client.learning.material import Material, draw_batch
from client.learning.meta_steps import task_loss
from client.learning.phases import parameters_of, take_phase
from client.rounds.device_training import train_device
from server.app import plan_for
from server.optimizers import FedAvg
from server.rounds import federate
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Moves, Phase, Utterances
from shared_models.algorithms.cloning import CLONING
from shared_models.algorithms.maml import ADAPTATION
from shared_models.algorithms.reptile import REPTILE
from shared_models.config import Recipe
from shared_models.errors import PrivacyError, RecipeError
from shared_models.losses import acoustic_loss
from shared_models.optimization import descend
from shared_models.recipes import find_recipe
from shared_models.seeds import generator
from shared_models.speakers.adaptation.changes import name_of
from shared_models.speakers.adaptation.whole import layers_of_whole

PLAIN: dict[str, Any] = {
    "aligner__learn": "never", "model__dropout": 0.0, "client__window_frames": None, "client__gradient_clip": 1e9,
    "speaker__sources": ["table"], "speaker__conditioning": "add", "speaker__personal": "vectors",
}  # fmt: skip
ORDERED = ("maml", "fomaml", "anil", "meta_tts", "meta_tts_personal")


def plain_recipe(algorithm: str, **changes: Any) -> Recipe:
    return tiny_recipe(**{"federation__algorithm": algorithm, "client__inner_steps": 2} | PLAIN | changes)


def material() -> Material:
    return Material.split(random_speech(6), 0.5)


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of float64, for models of float64."""
    monkeypatch.setattr(module, "draw_batch", lambda *asked: in_float64(draw_batch(*asked)))


def outer_loss(model: VoicePartition, recipe: Recipe) -> Tensor:
    """The same draws every time."""
    return task_loss(recipe.algorithm, model, material(), recipe, generator(1), 1)[0]


def outer_gradient(model: VoicePartition, recipe: Recipe) -> list[Tensor]:
    shared = model.shared_parameters()
    loss = outer_loss(model, recipe)
    return list(torch.autograd.grad(loss, shared, allow_unused=True, materialize_grads=True))


def double(recipe: Recipe) -> VoicePartition:
    model = shaken(tiny_model(recipe))
    model.model.double()
    return model


@pytest.mark.parametrize("name", ["maml", "meta_tts_personal"])
@pytest.mark.usefixtures("float64")
def test_the_outer_gradient_is_that_of_finite_differences(name: str) -> None:
    rates = (
        {"speaker__learned_rates": 5.0, "client__gradient_clip": 1.0} if name == "meta_tts_personal" else {}
    )
    recipe = plain_recipe(name, client__inner_lr=0.02, **rates)
    model = double(recipe)
    shared, found = model.shared_parameters(), outer_gradient(model, recipe)
    rng = torch.Generator().manual_seed(4)

    @torch.no_grad()
    def moved_by(direction: list[Tensor], size: float) -> None:
        for parameter, d in zip(shared, direction, strict=True):
            parameter.add_(d, alpha=size)

    for _ in range(2):
        direction = [torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in shared]
        values = []
        # Small enough that no rectifier switches in between, which a slope would not tell of.
        for size in (3e-8, -6e-8):
            moved_by(direction, size)
            values.append(outer_loss(model, recipe).item())
        moved_by(direction, 3e-8)
        slope = sum(float((g * d).sum()) for g, d in zip(found, direction, strict=True))
        assert slope == pytest.approx((values[0] - values[1]) / 6e-8, rel=1e-5)


@pytest.mark.usefixtures("float64")
def test_the_first_order_is_the_querys_gradient_at_the_adapted_weights() -> None:
    recipe = plain_recipe("fomaml", client__inner_lr=0.02)
    model = double(recipe)
    found = outer_gradient(model, recipe)
    own = dict(model.model.named_parameters())
    rng, now = generator(1), {name: p.detach().clone() for name, p in own.items()}
    moved = {id(p) for p in parameters_of(ADAPTATION, model)}
    support = in_float64(draw_batch(material().support, recipe, rng))

    def gradients(batch: Any) -> dict[str, Tensor]:
        leaves = {name: value.clone().requires_grad_() for name, value in now.items()}
        loss = acoustic_loss(functional_call(model.model, leaves, (batch,)), batch).total
        made = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(leaves, made, strict=True))

    for _ in range(2):
        down = gradients(support)
        now = {n: v - 0.02 * down[n] if id(own[n]) in moved else v for n, v in now.items()}
    expected = gradients(in_float64(draw_batch(material().query, recipe, rng)))
    for spec, gradient in zip(model.partition.shared, found, strict=True):
        torch.testing.assert_close(gradient, expected[spec.name], rtol=1e-7, atol=1e-10)
    second = outer_gradient(model, plain_recipe("maml", client__inner_lr=0.02))
    assert any(not torch.allclose(a, b, rtol=1e-3) for a, b in zip(found, second, strict=True))


def test_reptile_goes_where_plain_steps_end_and_the_server_a_share_of_the_mean_way() -> None:
    """Down parabolas that end is known: the distance from the vertex shrinks by 1 - rate * curvature a step."""
    recipe = plain_recipe("reptile", client__inner_lr=0.1, client__inner_steps=3)
    curvatures, vertices, ways = (2.0, 0.5), (0.3, -1.0), []
    for curvature, vertex in zip(curvatures, vertices, strict=True):
        model = shaken(tiny_model(recipe))
        start = model.shared_vector()

        def parabola(_: Any, *__: Any, c: float = curvature, v: float = vertex, m: Any = model) -> Tensor:
            far = [(p - v).square().sum() for p in m.shared_parameters()]
            return 0.5 * c * torch.stack(far).sum()

        take_phase(
            REPTILE.outer, model, random_speech(4), recipe, generator(1), round_number=1, loss_of=parabola
        )
        ways.append(model.shared_vector() - start)
        expected = ((1 - 0.1 * curvature) ** 3 - 1) * (start - vertex)
        torch.testing.assert_close(ways[-1], expected, rtol=1e-4, atol=1e-6)
    moved = FedAvg(0.5).step(start, torch.stack(ways).mean(0))
    shrunk = [(1 - 0.1 * c) ** 3 for c in curvatures]
    ends = [v + share * (start - v) for v, share in zip(vertices, shrunk, strict=True)]
    torch.testing.assert_close(moved, start + 0.5 * (torch.stack(ends).mean(0) - start), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["maml", "anil", "meta_tts_personal", "reptile"])
def test_a_round_begins_with_a_newcomers_voice_whatever_the_device_has(name: str) -> None:
    recipe = plain_recipe(name)
    updates, fresh = [], tiny_model(recipe)
    weights = shaken(tiny_model(recipe)).shared_vector()
    for model in (fresh, shaken(tiny_model(recipe))):
        updates.append(local_round(model, weights, material(), task_of(recipe)).update.vector)
    assert torch.equal(*updates)
    assert updates[0].any()
    if name not in ("reptile", "meta_tts_personal"):
        # What adapted beside layers that are put back is put back too.
        assert same(personal_copy(fresh), personal_copy(tiny_model(recipe)))


@pytest.mark.parametrize("name", ["maml", "fomaml"])
def test_an_update_is_the_outer_gradient_where_one_plain_step_makes_it(name: str) -> None:
    recipe = plain_recipe(name, client__outer_steps=1, client__outer_optimizer="sgd", client__outer_lr=0.5)
    model = tiny_model(recipe)
    weights = shaken(tiny_model(recipe)).shared_vector()
    update = local_round(model, weights, material(), task_of(recipe)).update.vector
    model.load_shared_vector(weights)
    model.reset_personal()
    loss, _ = task_loss(recipe.algorithm, model, material(), recipe, task_of(recipe).generator("local"), 1)
    found = torch.autograd.grad(loss, model.shared_parameters(), allow_unused=True, materialize_grads=True)
    expected = torch.cat([g.flatten() for g in found]) * -0.5
    torch.testing.assert_close(update, expected, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("name", ["maml", "fomaml", "anil", "meta_tts"])
def test_a_newcomer_of_a_recipe_adapts_the_layers_that_its_inner_loop_adapts(name: str) -> None:
    recipe = find_recipe(name)
    model = tiny_model(recipe)
    inner, cloning = recipe.algorithm.inner, tiny_model(recipe.for_cloning())
    assert inner is not None
    moved = {id(parameter) for parameter in parameters_of(inner, model)}
    layers = layers_of_whole(model.model.acoustic, recipe.speaker.layers)
    parts = {(path, part): p for path, layer in layers.items() for part, p in layer.named_parameters()}
    assert {id(p) for p in parts.values()} == moved - {id(p) for p in model.personal_parameters()}
    own = {name for name in cloning.model.voices.keeps if name.startswith("whole/")}
    assert own == {name_of("whole", path, part) for path, part in parts}
    if inner.moves.personal:
        assert cloning.model.voices.keeps.keys() - own == model.model.voices.keeps.keys()
    assert recipe.cloning.optimizer == "sgd"
    assert recipe.cloning.lr == recipe.client.inner_lr


def test_cloning_by_plain_steps_is_the_inner_loop_on_the_weights_themselves() -> None:
    """A voice keeps changes of weights in units of their own; the way is that of the weights."""
    rate, clip = 0.05, {"client__gradient_clip": 0.7}
    recipe = plain_recipe(
        "maml", cloning__steps=3, cloning__lr=rate, cloning__adaptation="vectors+whole", **clip
    )
    weights, speech = shaken(tiny_model(recipe)).shared_vector(), random_speech(4)
    direct, cloned = tiny_model(recipe), tiny_model(recipe.for_cloning())
    for model in (direct, cloned):
        model.load_shared_vector(weights)
    steps: Callable[[Recipe], int] = lambda _: 3  # noqa: E731
    phase = Phase(
        moves=Moves.BOTH, layers=ADAPTATION.layers, material=Utterances.ALL, steps=steps,
        shared_rate=lambda *_: rate, personal_rate=lambda *_: rate,
    )  # fmt: skip
    expected = take_inner_steps(phase, direct, speech, recipe, generator(2))
    found = take_inner_steps(CLONING, cloned, speech, recipe.for_cloning(), generator(2))
    assert found == pytest.approx(expected, rel=1e-4)
    assert torch.equal(cloned.shared_vector(), weights)
    before = tiny_model(recipe)
    before.load_shared_vector(weights)
    for path, layer in layers_of_whole(direct.model.acoustic, None).items():
        for part, moved in layer.named_parameters():
            kept = cloned.model.voices.keeps[name_of("whole", path, part)]
            change = cloned.model.voices.get_parameter(f"{kept.name}.weight").view(kept.shape) / kept.unit
            start = before.model.acoustic.get_submodule(path).get_parameter(part)
            torch.testing.assert_close(change, moved - start, rtol=1e-2, atol=2e-5)


def test_plain_steps_are_taken_of_every_number_and_told() -> None:
    recipe = plain_recipe("maml", cloning__steps=2, cloning__lr=0.1)
    model, told = tiny_model(recipe), []
    take_inner_steps(
        CLONING, model, random_speech(3), recipe, generator(1), on_step=lambda *at: told.append(at)
    )
    by_sgd = tiny_model(recipe)
    voice, rng = by_sgd.personal_parameters(), generator(1)
    optimizer = torch.optim.SGD(voice, lr=0.1)
    for _ in range(2):
        batch = draw_batch(random_speech(3), recipe, rng)
        descend(acoustic_loss(by_sgd.model(batch), batch).total, voice, optimizer, 1e9)
    assert told == [(1, 2), (2, 2)]
    torch.testing.assert_close(model.personal_state(), by_sgd.personal_state(), rtol=1e-4, atol=1e-6)


def private(name: str, **changes: Any) -> Recipe:
    return plain_recipe(name, personal_privacy__enabled=True, personal_privacy__epsilon=4.0, **changes)


@pytest.mark.parametrize("name", [*ORDERED, "reptile"])
def test_dp_sgd_in_an_inner_loop_is_refused_by_server_and_device_with_the_reason(
    name: str, tmp_path: Path
) -> None:
    recipe = private(name)
    said = rf"cannot be combined with federation.algorithm '{name}'.*per-sample gradients have not"
    plan = plan_for(recipe, tmp_path / "checkpoints", "run", 2, seeded_noise=True)
    with pytest.raises(RecipeError, match=said):
        federate(FakeGrid(2, lambda *_: []), plan)
    model = tiny_model(recipe)
    with pytest.raises(RecipeError, match=said):
        train_device(model, model.shared_vector(), Device(tmp_path, "me", (), tmp_path), task_of(recipe))


def test_private_cloning_by_the_steps_of_an_inner_loop_is_refused(tmp_path: Path) -> None:
    recipe = private("maml", cloning__optimizer="sgd")
    with pytest.raises(PrivacyError, match="plain steps that meta-learning trained it for"):
        adapt_privately(
            tiny_model(recipe), random_speech(4), recipe, Ledger(tmp_path / "ledger.sqlite", 4.0, 1e-3)
        )


def test_a_discriminator_beside_plain_steps_is_refused() -> None:
    with pytest.raises(RecipeError, match="no discriminator, no recogniser"):
        plain_recipe("maml", cloning__optimizer="sgd", cloning__adversarial=0.5)


def test_a_device_holds_plain_steps_of_every_kind_to_its_limit() -> None:
    asked = {"client__inner_lr": 0.09, "client__gradient_clip": 20.0, "client__batch_size": 4}
    policy = Policy(modes=("none",))
    for name in ("fedper", *ORDERED, "reptile"):
        refused = policy.refusal(plain_recipe(name, **asked)) or ""
        assert ("maximum_step_norm" in refused) == (name != "fedper"), name
