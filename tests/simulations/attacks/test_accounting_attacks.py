"""Attacks on the accounting, as commands: what was free is declined or paid for, and a coin that is none is noticed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny_federation import features_of_tests
from typer.testing import CliRunner

from simulations import cli
from simulations.attacks.amplification import amplification, most_that_a_jumper_gets
from simulations.attacks.free_releases import free_releases

pytestmark = pytest.mark.slow


def test_no_release_is_free_whatever_the_owner_allows() -> None:
    found = free_releases(10, features_of_tests())
    assert [row.protection for row in found] == ["policy wide open", "as shipped"]
    for row in found:
        assert row.paid == 2
        # Two of ten were put in a run of their own, and paid for there.
        assert row.answered == 2
        assert sum(row.reasons.values()) == 8
        assert row.epsilon >= row.epsilon_of_answers > row.epsilon_before
        for field in ("seed", "privacy.clipping_norm", "client.outer_lr", "client.outer_steps"):
            assert any(field in reason for reason in row.reasons)


def test_a_billion_people_who_are_not_there_buy_next_to_nothing() -> None:
    rows = {row.case: row for row in amplification(12, features_of_tests())}
    unprotected = rows.pop("no protection (computed)")
    assert unprotected.answered == 12
    assert unprotected.epsilon < 1 < 100 < unprotected.epsilon_without_sampling
    assert all(row.told for row in rows.values())
    by_case = {case.split(",")[0]: row for case, row in rows.items()}
    assert by_case["a billion claimed in the recipe alone"].answered == 0
    assert by_case["a billion claimed throughout"].answered == 0
    jumper = by_case["round numbers jump ahead"]
    assert jumper.answered <= most_that_a_jumper_gets() == 4
    renamed = by_case["another run's name each time"]
    assert renamed.answered < 12
    for row in rows.values():
        assert row.epsilon_without_sampling <= 100
        assert row.epsilon <= 20


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(cli.app, ["attack", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_commands_say_so_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    told = run("free-releases", "--variations", "2")
    assert told["attack"] == "free-releases"
    assert [case["answered"] for case in told["cases"]] == [0, 0]
    told = run("amplification", "--asked", "2")
    assert told["most_answers_unnoticed"] == 4
    assert len(told["cases"]) == 6
