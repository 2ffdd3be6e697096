"""What a device's owner reads of privacy: both figures, and that a run is no longer answered."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from client.commands import device_status
from client.home.ledger import Ledger
from client.home.policy import Policy, as_toml
from client.home.spending import claim_of, reserve_round, spent_without_sampling
from client.live.status import merged
from client.live.worker import Worker
from client.rounds.answers import Answers
from shared_models.config import UNPROTECTED, Recipe
from shared_models.shown_epsilon import epsilon_shown

CHANGES = {
    "privacy.mode": "central", "privacy.noise_multiplier": 1.0, "federation.sampling": "poisson",
    "federation.rounds": 1000, "federation.cohort": 5,
}  # fmt: skip
REASON = "this device was asked in 3 of 3 rounds where a rate of 0.05 is claimed"


@pytest.fixture
def status(tmp_path: Path) -> dict[str, Any]:
    """The status of a device that answered twice under a plan of a thousand rounds and then stopped."""
    policy = Policy(total_epsilon=30.0, epsilon_per_run=20.0)
    (tmp_path / "policy.toml").write_text(as_toml(policy))
    ledger = Ledger(tmp_path / "ledger.sqlite", policy.total_epsilon, policy.delta)
    claim = claim_of(Recipe().override(CHANGES), 100)
    for number, question in ((3, "a" * 64), (9, "b" * 64)):
        reserve_round(ledger, policy, claim, run="run", round_number=number, question=question)
    Answers(tmp_path).stop("run", REASON)
    worker = Worker(tmp_path, desk=None, app=None)  # type: ignore[arg-type]
    told = worker._spent()
    assert told["epsilon"] == ledger.spent("person")
    assert told["epsilon_without_sampling"] == spent_without_sampling(ledger)
    return merged({"state": "running"}, {}, told)


def shown(status: dict[str, Any]) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(device_status.table(status))
    return " ".join(text.getvalue().split())


def test_both_figures_stand_beside_each_other(status: dict[str, Any]) -> None:
    text = shown(status)
    by_the_coins, without = (epsilon_shown(status[key]) for key in ("epsilon", "epsilon_without_sampling"))
    assert f"epsilon {by_the_coins} at delta 1e-05" in text
    assert f"epsilon {without}: every answer at its full cost" in text
    line = "  ".join(device_status._line(status))
    assert f"epsilon {by_the_coins} ({without} without sampling)" in line


def test_a_run_that_is_no_longer_answered_is_shown_with_the_reason(status: dict[str, Any]) -> None:
    assert REASON in shown(status)


def test_programs_read_both(
    status: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from client.live.home import Membership

    Membership("host:1", 0, 1, "f", "run", "alice").save(tmp_path)
    (tmp_path / "status.json").write_text(json.dumps(status | {"state": "stopped"}))
    device_status.show(tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["epsilon_without_sampling"] == status["epsilon_without_sampling"]
    assert told["stopped"] == REASON


def test_what_was_sent_without_noise_has_no_epsilon() -> None:
    nothing = dict.fromkeys(("epsilon", "epsilon_left", "epsilon_without_sampling", "delta"))
    bare = merged({"state": "running"}, {}, {**nothing, "protection": UNPROTECTED})
    assert "unprotected: updates were sent without noise" in shown(bare)
    assert "epsilon 0" not in shown(bare)
    assert UNPROTECTED in "  ".join(device_status._line(bare))


def test_what_is_left_is_rounded_down(status: dict[str, Any]) -> None:
    assert "delta 1e-05, 2.99 left" in shown({**status, "epsilon_left": 2.9999})
