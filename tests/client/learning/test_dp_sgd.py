"""DP-SGD on the personal set, with a small module of tables and a frozen backbone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from independence import most_correlated, most_repetitive
from opacus import GradSampleModule
from torch import Tensor, nn

from client.learning.dp_sgd import PersonalDP, dp_sgd_steps, make_private
from shared_models.accounting import SampledGaussian, epsilon_of, noise_multiplier_for
from shared_models.errors import BudgetError, PrivacyError

UTTERANCES, HIDDEN = 7, 6


class Tables(nn.Module):
    """A personal set like the real one: tables of one row, and one that may go unused."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Embedding(1, HIDDEN)
        self.shift = nn.Embedding(1, HIDDEN)
        self.unused = nn.Embedding(1, 3)


class Problem:
    """A frozen backbone around the tables, and data: utterance i has i + 2 frames."""

    def __init__(self, gain: float = 1.0) -> None:
        seed = torch.Generator().manual_seed(3)
        self.tables = Tables()
        self.backbone = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN), nn.Tanh())
        for number, parameter in enumerate([*self.tables.parameters(), *self.backbone.parameters()]):
            own = torch.Generator().manual_seed(number)
            parameter.data = torch.randn(parameter.shape, generator=own)
        self.backbone.requires_grad_(False)
        self.frames = [torch.randn(i + 2, HIDDEN, generator=seed) for i in range(UTTERANCES)]
        self.gains = [gain] + [1.0] * (UTTERANCES - 1)

    def losses(self, indices: list[int]) -> Tensor:
        rows = torch.zeros(len(indices), dtype=torch.int64)
        scale, shift = self.tables.scale(rows), self.tables.shift(rows)
        per_utterance = []
        for row, index in enumerate(indices):
            heard = self.backbone(self.frames[index]) * scale[row] + shift[row]
            per_utterance.append(self.gains[index] * (heard - self.frames[index]).square().mean())
        return torch.stack(per_utterance)

    def alone(self, index: int) -> Tensor:
        """One utterance's gradient by plain autograd, flat, before any hook exists."""
        found = torch.autograd.grad(
            self.losses([index]).sum(), list(self.tables.parameters()), allow_unused=True
        )
        return torch.cat(
            [
                torch.zeros(p.numel()) if g is None else g.flatten()
                for g, p in zip(found, self.tables.parameters(), strict=True)
            ]
        )


def _movement(problem: Problem, settings: PersonalDP, seed: int | None = 1, lr: float = 1.0) -> Tensor:
    """How plain SGD with ``lr`` moves the tables in ``settings.steps`` private steps."""
    before = nn.utils.parameters_to_vector(problem.tables.parameters()).detach().clone()
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(problem.tables.parameters(), lr=lr)
    dp_sgd_steps(problem.tables, optimizer, problem.losses, settings, reserve=[].append, generator=generator)
    return nn.utils.parameters_to_vector(problem.tables.parameters()).detach() - before


def _full_batch(
    clipping_norm: float, noise_multiplier: float = 1e-9, utterances: int = UTTERANCES
) -> PersonalDP:
    return PersonalDP(noise_multiplier, clipping_norm, utterances, expected_batch=utterances, steps=1)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_per_utterance_gradients_are_those_of_one_utterance_at_a_time() -> None:
    problem = Problem()
    expected = [problem.alone(index) for index in range(UTTERANCES)]
    optimizer = torch.optim.SGD(problem.tables.parameters(), lr=1.0)
    hooked, private = make_private(
        problem.tables, optimizer, noise_multiplier=1.0, clipping_norm=1.0, expected_batch=1, generator=None
    )
    torch.autograd.backward(problem.losses(list(range(UTTERANCES))).sum())
    used = [problem.tables.scale.weight, problem.tables.shift.weight]
    for index in range(UTTERANCES):
        found = torch.cat([parameter.grad_sample[index].flatten() for parameter in used])
        torch.testing.assert_close(found, expected[index][: 2 * HIDDEN], rtol=1e-5, atol=1e-6)
    hooked.to_standard_module()
    assert private.max_grad_norm == 1.0


def test_a_step_is_the_mean_of_clipped_gradients_computed_by_hand() -> None:
    problem = Problem()
    norm = 0.7
    gradients = [problem.alone(index) for index in range(UTTERANCES)]
    assert any(g.norm() > norm for g in gradients)
    clipped = [g * min(1.0, norm / float(g.norm())) for g in gradients]
    moved = _movement(problem, _full_batch(norm))
    torch.testing.assert_close(moved, -torch.stack(clipped).sum(0) / UTTERANCES, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gain", [1e6, 1e30])
def test_one_huge_utterance_moves_a_step_by_at_most_the_clipping_norm(gain: float) -> None:
    norm = 0.5
    difference = _movement(Problem(gain), _full_batch(norm)) - _movement(Problem(0.0), _full_batch(norm))
    assert float(difference.norm()) * UTTERANCES <= norm * (1 + 1e-4)
    # A gradient whose square overflows counts for nothing; any other still counts for the whole norm.
    assert bool(difference.any()) == (gain < 1e19)


@pytest.mark.parametrize("absent", range(UTTERANCES))
def test_leaving_an_utterance_out_changes_the_clipped_sum_by_at_most_the_norm(absent: int) -> None:
    norm = 0.3
    whole = _movement(Problem(), _full_batch(norm)) * UTTERANCES
    without = Problem()
    without.gains[absent] = 0.0
    assert float((_movement(without, _full_batch(norm)) * UTTERANCES - whole).norm()) <= norm * (1 + 1e-4)


@pytest.mark.parametrize("seed", [5, None], ids=["simulation", "operating system"])
def test_the_noise_has_the_promised_deviation_even_on_empty_batches(seed: int | None) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(1, 100_000)

    module, expected = Wide(), 1e-9
    before = module.table.weight.detach().clone()
    settings = PersonalDP(1.5, 0.2, utterances=1, expected_batch=expected, steps=1)

    def never(indices: list[int]) -> Tensor:
        raise AssertionError(f"nobody was to be chosen, and {indices} were")

    dp_sgd_steps(
        module,
        torch.optim.SGD(module.parameters(), lr=expected),
        never,
        settings,
        reserve=[].append,
        generator=None if seed is None else torch.Generator().manual_seed(seed),
    )
    noise = (module.table.weight.detach() - before).double()
    assert float(noise.std()) == pytest.approx(1.5 * 0.2, rel=0.02)
    assert abs(float(noise.mean())) < 5 * 0.3 / math.sqrt(100_000)


class WideTables(nn.Module):
    """Two tables large enough to judge noise by."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Embedding(1, 40_000)
        self.other = nn.Embedding(1, 40_000)


def _noise_of_steps(steps: int, seed: int | None) -> Tensor:
    """What each table is moved by in each of some steps that draw nobody: ``(2 * steps, 40000)``."""
    module, expected = WideTables(), 1e-9
    states: list[Tensor] = []

    def note(*_: int) -> None:
        states.append(torch.stack([module.one.weight[0], module.other.weight[0]]).detach().clone())

    note()
    dp_sgd_steps(
        module, torch.optim.SGD(module.parameters(), lr=expected), lambda _: pytest.fail("nobody was to be chosen"),
        PersonalDP(1.0, 1.0, utterances=1, expected_batch=expected, steps=steps), reserve=[].append,
        generator=None if seed is None else torch.Generator().manual_seed(seed), progress=note,
    )  # fmt: skip
    return torch.stack(states).diff(dim=0).flatten(0, 1)


@pytest.mark.parametrize("seed", [5, None], ids=["simulation", "operating system"])
def test_no_steps_noise_tells_of_anothers(seed: int | None) -> None:
    """Nor a table's, nor a coordinate's: with the same noise twice, a difference is free of it."""
    noise = _noise_of_steps(4, seed)
    assert noise.shape == (8, 40_000)
    assert float(noise.std()) == pytest.approx(1.0, rel=0.02)
    assert most_correlated(noise) < 1
    assert most_repetitive(noise.flatten()) < 1
    again = _noise_of_steps(2, seed if seed is None else seed + 1)
    assert most_correlated(torch.cat([noise, again])) < 1, "another training's noise"


def _drawn(steps: int, seed: int | None, utterances: int = 40) -> list[list[int]]:
    """The utterances of each step, half of them on average."""
    module, chosen = nn.Embedding(1, 2), list[list[int]]([[]])

    def losses(indices: list[int]) -> Tensor:
        chosen[-1] += indices
        return module(torch.zeros(len(indices), dtype=torch.int64)).sum(1)

    dp_sgd_steps(
        module, torch.optim.SGD(module.parameters(), lr=1e-6), losses,
        PersonalDP(1.0, 1.0, utterances, utterances / 2, steps), reserve=[].append,
        generator=None if seed is None else torch.Generator().manual_seed(seed),
        progress=lambda *_: chosen.append([]),
    )  # fmt: skip
    assert len(chosen) == steps + 1
    return chosen[:steps]


@pytest.mark.parametrize("seed", [5, None], ids=["simulation", "operating system"])
def test_every_step_throws_its_own_coins(seed: int | None) -> None:
    """Two steps of 40 coins are alike once in 2^40; that any two of five are, once in 10^11."""
    assert len({tuple(indices) for indices in _drawn(5, seed)}) == 5


def test_coins_on_a_real_device_are_thrown_anew() -> None:
    assert _drawn(3, seed=2) == _drawn(3, seed=2) != _drawn(3, seed=3)
    for one, other in zip(_drawn(3, seed=None), _drawn(3, seed=None), strict=True):
        assert one != other


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_counts_for_nothing(bad: float) -> None:
    """A loss may be finite and its gradient not (a root at zero); NaN would pass through clipping and noise."""

    class NotFinite(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, value: Tensor) -> Tensor:  # noqa: ARG004
            return value.clone()

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
            return torch.full_like(gradient, bad)

    class Broken(Problem):
        def losses(self, indices: list[int]) -> Tensor:
            losses = super().losses(indices)
            return torch.stack(
                [NotFinite.apply(x) if i == 3 else x for i, x in zip(indices, losses, strict=True)]
            )

    norm = 0.3
    moved = _movement(Broken(), _full_batch(norm))
    without = Problem()
    without.gains[3] = 0.0
    assert bool(moved.isfinite().all())
    torch.testing.assert_close(moved, _movement(without, _full_batch(norm)), rtol=1e-5, atol=1e-6)


def test_the_coins_are_each_utterances_own_and_of_the_stated_probability() -> None:
    problem, steps = Problem(), 400
    counts, sizes, chosen = torch.zeros(UTTERANCES), list[int](), list[int]()

    def counted(indices: list[int]) -> Tensor:
        counts[indices] += 1
        chosen.extend(indices)
        return problem.losses(indices)

    def stepped(_done: int, _total: int) -> None:
        assert len(set(chosen)) == len(chosen), "an utterance counted twice in a step"
        sizes.append(len(chosen))
        chosen.clear()

    settings = PersonalDP(1.0, 1.0, UTTERANCES, expected_batch=2.1, steps=steps)
    dp_sgd_steps(
        problem.tables, torch.optim.SGD(problem.tables.parameters(), lr=1e-6), counted, settings,
        reserve=[].append, generator=torch.Generator().manual_seed(9), progress=stepped,
    )  # fmt: skip
    assert len(sizes) == steps
    deviation = math.sqrt(steps * 0.3 * 0.7)
    assert float((counts - steps * 0.3).abs().max()) < 4 * deviation
    assert len(set(sizes)) > 3  # a fixed batch would have one size


def test_a_module_in_evaluation_mode_is_trained_alike_and_left_in_it() -> None:
    problem = Problem()
    problem.tables.eval()
    assert torch.equal(_movement(problem, _full_batch(0.7)), _movement(Problem(), _full_batch(0.7)))
    assert not problem.tables.training


def test_it_repeats_with_a_seed_and_does_not_without() -> None:
    settings = PersonalDP(1.0, 1.0, UTTERANCES, expected_batch=2, steps=3)
    assert torch.equal(_movement(Problem(), settings, seed=4), _movement(Problem(), settings, seed=4))
    assert not torch.equal(_movement(Problem(), settings, seed=4), _movement(Problem(), settings, seed=5))
    assert not torch.equal(
        _movement(Problem(), settings, seed=None), _movement(Problem(), settings, seed=None)
    )


def test_the_module_is_left_without_hooks_and_may_be_trained_again() -> None:
    problem = Problem()
    for _ in range(2):
        _movement(problem, _full_batch(1.0))
    assert not any(hasattr(p, "grad_sample") for p in problem.tables.parameters())
    GradSampleModule(problem.tables)  # would raise if hooks had stayed


def test_five_utterances_report_what_they_cost() -> None:
    problem = Problem()
    sigma = noise_multiplier_for(8.0, 1e-3, 2 / 5, 30)
    settings = PersonalDP(sigma, 0.5, utterances=5, expected_batch=2, steps=30)
    reserved: list[SampledGaussian] = []
    spent = dp_sgd_steps(
        problem.tables, torch.optim.Adam(problem.tables.parameters(), lr=0.02), problem.losses, settings,
        reserve=reserved.append, generator=None,
    )  # fmt: skip
    assert reserved == [spent] == [SampledGaussian(sigma, 0.4, 30)]
    assert 7.9 < epsilon_of([spent], 1e-3) <= 8.0


def test_nothing_is_trained_when_the_budget_refuses() -> None:
    problem = Problem()
    before = [p.detach().clone() for p in problem.tables.parameters()]

    def refuse(_: SampledGaussian) -> None:
        raise BudgetError("no budget")

    with pytest.raises(BudgetError):
        dp_sgd_steps(
            problem.tables, torch.optim.SGD(problem.tables.parameters(), lr=1.0), problem.losses,
            _full_batch(1.0), reserve=refuse, generator=None,
        )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(before, problem.tables.parameters(), strict=True))


def _twice(problem: Problem) -> Callable[[list[int]], Tensor]:
    def losses(indices: list[int]) -> Tensor:
        doubled = problem.losses(indices + indices)
        return doubled[: len(indices)] + doubled[len(indices) :]

    return losses


def test_each_utterance_is_computed_alone() -> None:
    """No batch, no coupling: what would let one utterance into another's gradient never sees two of them."""
    problem, asked = Problem(), list[list[int]]()

    def watched(indices: list[int]) -> Tensor:
        asked.append(indices)
        return problem.losses(indices)

    optimizer = torch.optim.SGD(problem.tables.parameters(), lr=1.0)
    dp_sgd_steps(problem.tables, optimizer, watched, _full_batch(1.0), reserve=[].append, generator=None)
    assert asked == [[index] for index in range(UTTERANCES)]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_counts_for_nothing_and_stops_nothing(wrong: float) -> None:
    broken, without = Problem(), Problem()
    broken.frames[2] = torch.full_like(broken.frames[2], wrong)
    without.gains[2] = 0.0
    assert torch.equal(_movement(broken, _full_batch(0.7)), _movement(without, _full_batch(0.7)))


def test_a_voice_that_is_no_longer_finite_is_refused() -> None:
    with pytest.raises(PrivacyError, match="voice is not finite"):
        _movement(Problem(), _full_batch(0.7), lr=math.inf)


def test_what_the_proof_does_not_cover_is_refused() -> None:
    problem = Problem()
    only_some = torch.optim.SGD([problem.tables.scale.weight], lr=1.0)
    with pytest.raises(PrivacyError, match="all of them"):
        dp_sgd_steps(
            problem.tables, only_some, problem.losses, _full_batch(1.0),
            reserve=[].append, generator=None,
        )  # fmt: skip
    for losses, message in [
        (lambda indices: problem.losses(indices).mean(), "one loss each"),
        (_twice(problem), "gave 2 gradients"),
    ]:
        with pytest.raises(PrivacyError, match=message):
            dp_sgd_steps(
                problem.tables, torch.optim.SGD(problem.tables.parameters(), lr=1.0), losses,
                _full_batch(1.0), reserve=[].append, generator=None,
            )  # fmt: skip
    for wrong in [
        lambda: PersonalDP(1.0, 1.0, utterances=5, expected_batch=6, steps=1),
        lambda: PersonalDP(0.0, 1.0, utterances=5, expected_batch=2, steps=1),
        lambda: PersonalDP(1.0, 0.0, utterances=5, expected_batch=2, steps=1),
        lambda: PersonalDP(1.0, 1.0, utterances=0, expected_batch=2, steps=1),
    ]:
        with pytest.raises(PrivacyError):
            wrong()
