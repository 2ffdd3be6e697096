"""``fedvoice attack leave-one-out``: what it prints, on the shipped base and one embedded voice."""

from __future__ import annotations

import json

import pytest
import typer
from tiny_federation import features_of_tests, tiny_recipe
from typer.testing import CliRunner

from shared_models.errors import CorpusError
from simulations.attacks.leave_one_out import COUPLED, SHIPPED, UNALIGNED, Pair, speakers_of
from simulations.attacks.leave_one_out import LeaveOneOut as Outcome
from simulations.commands.attack_leave_one_out import leave_one_out

app = typer.Typer()
app.command()(leave_one_out)


@pytest.fixture(autouse=True)
def _features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))


def test_the_command_tells_what_is_shipped_from_what_a_batch_couples() -> None:
    options = ["--speakers", "1", "--utterances", "2", "--clipping-norm", "0.05", "--json"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    cases = {case["case"]: case for case in found["cases"]}
    assert set(cases) == {SHIPPED, COUPLED, UNALIGNED}
    assert cases[SHIPPED]["worst"] <= 1 + 1e-5
    assert cases[SHIPPED]["epsilon"] <= 8.0 * (1 + 1e-3)
    assert max(cases[COUPLED]["worst"], cases[UNALIGNED]["worst"]) > 1.001
    assert [pair["way"] for pair in found["pairs"]].count(SHIPPED) == 3


def test_what_moves_twice_as_far_costs_what_half_the_noise_would() -> None:
    pairs = [Pair(SHIPPED, "s", 2, 0, 1.0), Pair(COUPLED, "s", 2, 0, 0.5), Pair(COUPLED, "s", 2, 1, 2.04)]
    outcome = Outcome(pairs, 8.0, 1e-3, 0.4801)
    assert outcome.true_epsilon(SHIPPED) == pytest.approx(8.0, rel=1e-3)
    assert outcome.worst(COUPLED) == 2.04
    assert outcome.true_epsilon(COUPLED) == pytest.approx(21, abs=0.5)


def test_a_corpus_with_too_few_utterances_is_named() -> None:
    with pytest.raises(CorpusError, match="no unseen speaker with 1000 usable utterances"):
        speakers_of("embedded", tiny_recipe(), speakers=1, utterances=1000)
