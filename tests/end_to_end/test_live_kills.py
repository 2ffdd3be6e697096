"""Random kills of real processes, server and devices alike, in a run that ends as if there had been none.

``FEDVOICE_KILLS=30 FEDVOICE_KILL_ROUNDS=20`` runs the long form, which takes many minutes; so does
``fedvoice rehearse --kills 30 --rounds 20``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from live_rehearsals import Told, federation_of, tiny_plan

from server.checkpoints import latest_checkpoint
from simulations.rehearsal.kills import RandomKills
from simulations.rehearsal.rehearsal import rehearse

KILLS = int(os.environ.get("FEDVOICE_KILLS", "3"))
ROUNDS = int(os.environ.get("FEDVOICE_KILL_ROUNDS", "3"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 * max(KILLS, ROUNDS))]


def test_random_kills_change_no_bit(tmp_path: Path) -> None:
    plan = tiny_plan(2, ROUNDS)
    outcome = rehearse(plan, tmp_path, Told(), kills=KILLS, seed=3)
    figures = outcome.figures()
    print(figures)
    assert len(outcome.killed) == KILLS
    assert figures["equal"], figures
    assert figures["processes_left_behind"] == 0
    assert [line["round"] for line in outcome.rounds] == list(range(1, ROUNDS + 1))


def test_random_kills_cost_no_privacy_that_was_not_planned(tmp_path: Path) -> None:
    plan = tiny_plan(
        2, ROUNDS, privacy__mode="central", privacy__noise_multiplier=1.0, privacy__clipping_norm=0.5
    )
    with federation_of(plan, tmp_path) as live:
        live.serve()
        live.join_all()
        kills = RandomKills(live, KILLS, seed=8, on_kill=lambda who: print("killed", who, flush=True))
        live.watch(on_look=kills)
    assert len(kills.done) == KILLS
    assert not live.left_behind
    final = latest_checkpoint(live.home.checkpoints)
    assert final is not None
    # Every round is released once, at what was planned. A device that was away then was not in it.
    assert final.accountant == {"releases": [[1.0, 1.0, ROUNDS]]}
    assert [line["round"] for line in live.rounds()] == list(range(1, ROUNDS + 1))
    counted = dict.fromkeys(range(2), 0)
    for line in live.rounds():
        for number in counted:
            counted[number] += str(number) not in line["dropped_devices"]
    for number in range(2):
        # A round is in the ledger before its update leaves, and once, however often it was asked for.
        rounds = _ledger(live.device_home(number))
        assert len(rounds) == len(set(rounds))
        assert len(rounds) >= counted[number]


def _ledger(home: Path) -> list[int]:
    place = f"file:{home / 'ledger.sqlite'}?mode=ro"
    with contextlib.closing(sqlite3.connect(place, uri=True)) as database:
        return [row[0] for row in database.execute("SELECT round FROM spends WHERE steps > 0 ORDER BY id")]
