"""``fedvoice privacy plan``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from typer.testing import CliRunner

from server.privacy_plan import larger_cohorts, make_plan, plan_with_noise
from shared_models.errors import PrivacyError
from shared_models.shown_epsilon import epsilon_shown
from simulations.commands.privacy import app

ARGUMENTS = [
    "plan", "--population", "1000", "--cohort", "50", "--rounds", "20", "--epsilon", "8", "--delta", "1e-6",
    "--clipping-norm", "0.4", "--coordinates", "10000",
]  # fmt: skip


def test_json_gives_the_figures_in_the_fields_terms() -> None:
    result = CliRunner().invoke(app, [*ARGUMENTS, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    event = dp_event.PoissonSampledDpEvent(0.05, dp_event.GaussianDpEvent(figures["noise_multiplier"]))
    independent = PLDAccountant().compose(event, 20).get_epsilon(1e-6)
    assert figures["epsilon"] == pytest.approx(independent, rel=0.005)
    assert 7.9 < figures["epsilon"] <= 8.0
    expected = {"population": 1000, "cohort": 50, "rounds": 20, "delta": 1e-6, "clipping_norm": 0.4}
    assert {key: figures[key] for key in expected} == expected
    assert figures["sampling_probability"] == 0.05
    noise = figures["noise_multiplier"] * 0.4 / 50
    assert figures["noise_per_coordinate"] == pytest.approx(noise)
    assert figures["signal_to_noise"] == pytest.approx(0.4 / (noise * 100))
    assert [row["cohort"] for row in figures["larger_cohorts"]] == [50, 100, 250, 500]


def test_the_table_says_what_the_figures_assume() -> None:
    result = CliRunner().invoke(app, ARGUMENTS, catch_exceptions=False, env={"COLUMNS": "160"})
    assert result.exit_code == 0
    for part in ["noise multiplier", "for a person", "best case", "Poisson", "larger cohort", "0.05"]:
        assert part in result.stdout
    assert "publish one person" not in result.stdout


def test_a_larger_cohort_buys_signal() -> None:
    chosen = make_plan(
        population=10_000, cohort=100, rounds=5, epsilon=4, delta=1e-6, clipping_norm=1.0, coordinates=1000
    )
    signals = [row.signal_to_noise for row in larger_cohorts(chosen)]
    assert len(signals) == 5  # up to half of the population
    assert signals == sorted(signals)
    assert signals[-1] > 10 * signals[0]


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "new" / "plan.png"
    result = CliRunner().invoke(app, [*ARGUMENTS, "--json", "--plot", str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 1e-7, "cohort": 1000, "rounds": 5000}, "cannot be reached"),
        ({"cohort": 2000}, "cannot be drawn from a population of 1000"),
        ({"epsilon": -1.0}, "above 0"),
        ({"delta": 0.0}, "between 0 and 1"),
        ({"clipping_norm": 0.0}, "clipping norm"),
    ],
)
def test_what_cannot_be_planned_is_one_clear_sentence(change: dict[str, float], message: str) -> None:
    settings = {"population": 1000, "cohort": 50, "rounds": 20, "epsilon": 8.0, "delta": 1e-6}
    settings |= {"clipping_norm": 0.5, "coordinates": 100}
    with pytest.raises(PrivacyError, match=message) as problem:
        make_plan(**(settings | change))  # type: ignore[arg-type]
    assert "\n" not in str(problem.value)


def test_a_delta_that_protects_nobody_is_pointed_out() -> None:
    arguments = [*ARGUMENTS, "--json"]
    arguments[arguments.index("1e-6")] = "1e-3"
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert any("publish one person" in note for note in json.loads(result.stdout)["notes"])


def test_the_default_delta_is_below_one_over_the_population() -> None:
    arguments = [*ARGUMENTS, "--json"]
    del arguments[arguments.index("--delta") : arguments.index("--delta") + 2]
    for population, delta in (("1000", 1e-4), ("3000", 1e-5), ("1000000", 1e-7)):
        arguments[arguments.index("--population") + 1] = population
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert json.loads(result.stdout)["delta"] == delta
        assert not any("publish one person" in note for note in json.loads(result.stdout)["notes"])


def test_epsilon_is_shown_rounded_up() -> None:
    result = CliRunner().invoke(app, ARGUMENTS, catch_exceptions=False, env={"COLUMNS": "160"})
    figures = json.loads(CliRunner().invoke(app, [*ARGUMENTS, "--json"], catch_exceptions=False).stdout)
    shown = epsilon_shown(figures["epsilon"])
    assert f"{shown} at delta 1e-06" in result.stdout
    assert figures["epsilon"] <= float(shown) < figures["epsilon"] + 0.01


def test_a_given_noise_comes_to_what_the_target_that_chose_it_did() -> None:
    chosen = make_plan(
        population=1000, cohort=50, rounds=20, epsilon=8, delta=1e-6, clipping_norm=0.4, coordinates=10_000
    )
    given = plan_with_noise(
        population=1000, cohort=50, rounds=20, delta=1e-6, noise_multiplier=chosen.noise_multiplier,
        clipping_norm=0.4, coordinates=10_000,
    )  # fmt: skip
    assert (given.epsilon, given.signal_to_noise) == (chosen.epsilon, chosen.signal_to_noise)
    fixed = plan_with_noise(
        population=1000, cohort=50, rounds=20, delta=1e-6, noise_multiplier=chosen.noise_multiplier,
        clipping_norm=0.4, coordinates=10_000, sampling="fixed",
    )  # fmt: skip
    assert fixed.sampling_probability == 1.0
    assert fixed.epsilon > 5 * given.epsilon
