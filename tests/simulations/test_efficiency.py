"""The efficiency benchmark compares equal work, and its figures mean what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_recipe import small_recipe
from typer.testing import CliRunner

from simulations import cli
from simulations.benchmarks import efficiency
from simulations.benchmarks.efficiency import Efficiency, Timing, bare_recipe, time_bare_loop, time_federation
from simulations.preparation import prepare

runner = CliRunner()


def _found(federated: list[float], bare: dict[int, list[float]]) -> Efficiency:
    return Efficiency(
        clients=3, cohort=2, rounds=1, steps=4, workers=2,
        federated=[Timing(1.0, s) for s in federated],
        bare={n: [Timing(0.1, s) for s in seconds] for n, seconds in bare.items()},
        largest_difference=0.0, load_average=[0.0, 0.0],
    )  # fmt: skip


def test_the_better_baseline_counts_and_medians_do() -> None:
    found = _found([3.0, 9.0, 3.3], {1: [4.0, 4.2, 4.1], 2: [3.0, 3.0, 99.0]})
    assert found.baseline_threads == 2
    assert found.ratio == pytest.approx(1.1)
    assert found.ratio_to_ideal == pytest.approx(3.3 / (4.1 / 2))


def test_arms_noise_and_pretraining_are_left_out() -> None:
    recipe = small_recipe(
        arms={"a": {"privacy.mode": "none"}},
        privacy={"mode": "central", "epsilon": 4.0},
        pretraining={"steps": 50},
        federation={"rounds": 9, "server_optimizer": "fedadam"},
    )
    bare = bare_recipe(recipe, 3)
    assert (bare.arms, bare.privacy.mode, bare.pretraining.steps) == ({}, "none", 0)
    assert (bare.federation.rounds, bare.federation.server_optimizer) == (3, "fedavg")


@pytest.mark.slow
def test_both_sides_do_the_same_work(tmp_path: Path) -> None:
    data = prepare(bare_recipe(small_recipe(), 3), tmp_path / "cache")
    timing, alone = time_bare_loop(data, 1)
    federated, weights = time_federation(data)
    assert torch.get_num_threads() == 1
    start = time_bare_loop(prepare(bare_recipe(small_recipe(), 1), tmp_path / "cache"), 1)[1]
    assert float((alone - start).abs().max()) > 1e-4, "nothing was trained"
    assert float((weights - alone).abs().max()) < 1e-6
    for measured in (timing, federated):
        assert measured.seconds > 0
        assert measured.startup_seconds > 0


@pytest.mark.slow
def test_the_command_prints_the_ratio_with_machine_and_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("shared_models.recipes.find_recipe", lambda _name, _overrides: small_recipe())
    done = runner.invoke(cli.app, ["bench", "efficiency", "--rounds", "1", "--repeats", "1", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["machine"]["cores"] >= 1
    assert len(found["load_average"]) == 2
    assert found["steps"] == 4
    best = min(found["bare_seconds"].values())[0]
    assert found["ratio"] == pytest.approx(found["federated_seconds"][0] / best)
    assert found["target"] == efficiency.TARGET == 1.10
