"""A server that dies at any point goes on with the round that was due: nothing is lost, nothing released twice."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_accounting.pld import privacy_loss_distribution as pld
from round_players import Live, private_recipe, recipe_of
from torch import Tensor

from server import attempts, checkpoints, federation_state, gathering, rounds
from server.attempts import begin_attempt, latest_attempt
from server.checkpoints import load_checkpoint
from server.mechanisms import CentralGaussian
from server.participation import participation_folder
from shared_models import files
from shared_models.errors import StorageError


class KilledError(BaseException):
    """The server dies here."""


class Mishaps:
    """Kills the server when a chosen point is passed the chosen number of times more."""

    def __init__(self) -> None:
        self.point = ""
        self.left = 0

    def arm(self, point: str, after: int) -> None:
        """Next time: at ``point``, after passing it ``after`` times."""
        self.point, self.left = point, after

    def pass_by(self, point: str) -> None:
        """One of the points is reached."""
        if point and point == self.point:
            self.left -= 1
            if self.left < 0:
                self.point = ""
                raise KilledError(point)


POINTS = [
    "drawn and not written", "attempt written", "half of the messages sent", "messages sent", "a reply taken",
    "spent and not noised", "noised and not stepped", "stepped and not saved", "half a checkpoint",
    "saved and not told", "told",
]  # fmt: skip


@pytest.fixture
def mishaps(monkeypatch: pytest.MonkeyPatch) -> Mishaps:
    """Faults at every point between two effects of a round."""
    made = Mishaps()

    def around(owner: Any, name: str, before: str = "", after: str = "") -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            made.pass_by(before)
            result = original(*arguments, **keywords)
            made.pass_by(after)
            return result

        monkeypatch.setattr(owner, name, wrapped)

    around(rounds, "begin_attempt", after="attempt written")
    around(attempts, "write_atomically", before="drawn and not written")
    around(gathering.Inspector, "update", before="a reply taken")
    around(CentralGaussian, "release", before="spent and not noised", after="noised and not stepped")
    around(rounds, "save", before="stepped and not saved", after="saved and not told")

    def torn(path: Path, data: bytes) -> None:
        if made.point == "half a checkpoint":
            path.with_name(f".{path.name}.1.partial").write_bytes(data[: len(data) // 2])
        made.pass_by("half a checkpoint")
        files.write_atomically(path, data)

    monkeypatch.setattr(checkpoints, "write_atomically", torn)
    return made


def survive(live: Live, mishaps: Mishaps, kills: list[tuple[str, int]]) -> Tensor:
    """Run to the end through all of the kills."""
    push = live.grid.push_messages

    def pushed(messages: Any) -> list[str]:
        sent = list(messages)
        half = push(sent[: len(sent) // 2])
        mishaps.pass_by("half of the messages sent")
        rest = push(sent[len(sent) // 2 :])
        mishaps.pass_by("messages sent")
        return half + rest

    live.grid.push_messages = pushed  # type: ignore[assignment, method-assign]
    told = live.reports.append

    def tell(report: Any) -> None:
        told(report)
        mishaps.pass_by("told")

    class Telling(list[Any]):
        append = staticmethod(tell)

    for point, after in kills:
        mishaps.arm(point, after)
        reports, live.reports = live.reports, Telling()
        try:
            live.run()
        except KilledError:
            pass
        else:
            raise AssertionError(f"the server was not killed at '{point}'")
        finally:
            live.reports = reports
    mishaps.arm("", 0)
    return live.run()


def weights_by_round(live: Live) -> dict[int, list[Tensor]]:
    """Round to the different weights that anybody was told."""
    found: dict[int, list[Tensor]] = {}
    for number, weights in live.seen:
        known = found.setdefault(number, [])
        if not any(torch.equal(weights, one) for one in known):
            known.append(weights)
    return found


@pytest.mark.parametrize("point", POINTS)
def test_wherever_it_dies_a_round_is_released_once(tmp_path: Path, mishaps: Mishaps, point: str) -> None:
    recipe = private_recipe(federation__rounds=4, federation__cohort=4)
    live = Live.of(recipe, tmp_path)
    survive(live, mishaps, [(point, 1 if point != "a reply taken" else 3)])
    assert {number: len(weights) for number, weights in weights_by_round(live).items()} == {
        1: 1, 2: 1, 3: 1, 4: 1,
    }  # fmt: skip
    assert load_checkpoint(tmp_path / "round-00004.safetensors").accountant == {"releases": [[1.0, 4 / 6, 4]]}


def test_thirty_random_kills_in_twenty_rounds_cost_what_was_planned(tmp_path: Path, mishaps: Mishaps) -> None:
    rng = random.Random(4)
    recipe = private_recipe(federation__rounds=20, federation__cohort=4)
    live = Live.of(recipe, tmp_path)
    live.grid.online.remove(1)
    kills = [(rng.choice(POINTS), 0 if i < 24 else rng.randrange(2)) for i in range(30)]
    # A round with an empty cohort passes no reply; those points are for the test above.
    kills = [
        ("messages sent", after) if point == "a reply taken" else (point, after) for point, after in kills
    ]
    survive(live, mishaps, kills)
    found = weights_by_round(live)
    assert sorted(found) == list(range(1, 21)), "no round is left unreported"
    assert all(len(weights) == 1 for weights in found.values()), "no round is released twice"
    final = load_checkpoint(tmp_path / "round-00020.safetensors")
    assert final.accountant == {"releases": [[1.0, 4 / 6, 20]]}
    one = pld.from_gaussian_mechanism(1.0, sampling_prob=4 / 6, value_discretization_interval=1e-4)
    last = next(r for r in live.reports if r.round == 20)
    assert last.epsilon == pytest.approx(one.self_compose(20).get_epsilon_for_delta(1e-5), rel=0.01)


def test_kills_change_no_bit_of_a_run_without_privacy(tmp_path: Path, mishaps: Mishaps) -> None:
    recipe = recipe_of(federation__rounds=6, federation__cohort=3, federation__server_optimizer="fedadam")
    whole = Live.of(recipe, tmp_path / "whole").run()
    live = Live.of(recipe, tmp_path / "killed")
    points = [p for p in POINTS if "noised" not in p]
    assert torch.equal(survive(live, mishaps, [(point, 0) for point in points]), whole)


def test_a_round_that_is_begun_again_asks_the_same_devices(tmp_path: Path, mishaps: Mishaps) -> None:
    recipe = private_recipe(federation__rounds=1, federation__cohort=3, federation__sampling="fixed")
    live = Live.of(recipe, tmp_path)
    survive(live, mishaps, [("messages sent", 0)] * 4)
    by_attempt: dict[int, set[int]] = {}
    for client, header in live.grid.asked:
        by_attempt.setdefault(header["attempt"], set()).add(client)
    assert len({frozenset(clients) for clients in by_attempt.values()}) == 1
    assert {len(clients) for clients in by_attempt.values()} == {3}
    assert live.reports[-1].attempt == 5


def test_a_round_whose_checkpoint_is_lost_is_spent_and_not_repeated(tmp_path: Path) -> None:
    recipe = private_recipe(federation__rounds=3, federation__cohort=4)
    live = Live.of(recipe, tmp_path)
    live.run()
    newest = tmp_path / "round-00003.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    asked = len(live.grid.asked)
    live.run()
    assert len(live.grid.asked) == asked, "round 3 has been released and paid for"
    assert "1 released rounds have no whole checkpoint" in live.waits[-1].reason


@pytest.mark.parametrize("seeded", [False, True])
def test_a_damaged_checkpoint_in_the_middle_costs_its_round(tmp_path: Path, seeded: bool) -> None:
    recipe = private_recipe(federation__rounds=5, federation__cohort=4)
    live = Live.of(recipe, tmp_path, seeded_noise=seeded)

    class StopError(Exception):
        pass

    def stop(report: Any, _: Tensor) -> None:
        if report.round == 3:
            raise StopError

    with pytest.raises(StopError):
        rounds.federate(live.grid, live.plan, stop)
    newest = tmp_path / "round-00003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    live.run()
    final = load_checkpoint(tmp_path / "round-00005.safetensors")
    assert final.accountant == {"releases": [[1.0, 4 / 6, 5]]}
    # Seeded, the round repeats bit by bit and may be run again; otherwise it is skipped.
    assert [r.round for r in live.reports] == [2, *([3] if seeded else []), 4, 5]


def full_disk(monkeypatch: pytest.MonkeyPatch, times: int, named: str = "") -> list[str]:
    """The next ``times`` writes of whole files, those alone with ``named`` in their names, find the disk full."""
    refused, paths = list[str](), dict[int, str]()
    sync, opener = os.fsync, files.private_opener

    def noted(path: str, flags: int) -> int:
        handle = opener(path, flags)
        paths[handle] = path
        return handle

    monkeypatch.setattr(files, "private_opener", noted)

    def fsync(handle: int) -> None:
        if named in paths.pop(handle, "") and len(refused) < times:
            refused.append("full")
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    return refused


@pytest.mark.parametrize(("times", "file"), [(1, "round-00001.safetensors"), (3, "round-00001.json")])
def test_a_full_disk_holds_the_round_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, file: str
) -> None:
    """Of a round's two files, its weights and who took part, either may be what there is no room for."""
    live = Live.of(private_recipe(federation__rounds=2, federation__cohort=4), tmp_path)
    save = federation_state.save_checkpoint
    tried: list[int] = []

    def save_on_a_full_disk(*arguments: Any) -> Any:
        if not tried:
            full_disk(monkeypatch, times, file)
        tried.append(1)
        return save(*arguments)

    monkeypatch.setattr(federation_state, "save_checkpoint", save_on_a_full_disk)
    live.run()
    assert len(tried) == times + 2
    folder = participation_folder(tmp_path) if file.endswith("json") else tmp_path
    assert {w.reason.split(":")[0] for w in live.waits} == {f"the disk that holds {folder / file} is full"}
    assert [r.round for r in live.reports] == [1, 2]
    assert {header["attempt"] for _, header in live.grid.asked} <= {1}, "nobody trains a second time"
    assert load_checkpoint(tmp_path / "round-00002.safetensors").accountant == {"releases": [[1.0, 4 / 6, 2]]}


def test_a_disk_that_stays_full_ends_the_run_with_one_sentence_and_it_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live.of(private_recipe(federation__rounds=1), tmp_path, storage_seconds=0.05)
    with monkeypatch.context() as patched:
        full_disk(patched, 10**6)
        with pytest.raises(StorageError, match="is full: free some space and resume"):
            live.run()
        assert not live.grid.asked, "no message leaves before its cohort is on the disk"
    live.run()
    assert [r.round for r in live.reports] == [1]


def test_the_note_of_an_attempt_survives_and_belongs_to_its_run(tmp_path: Path) -> None:
    first = begin_attempt(tmp_path, "a", 1, lambda: [3, 1])
    assert begin_attempt(tmp_path, "a", 1, lambda: [9]).cohort == first.cohort == (3, 1)
    again = begin_attempt(tmp_path, "a", 1, lambda: [9], redraw=True)
    assert (again.number, again.cohort) == (3, (9,))
    assert begin_attempt(tmp_path, "a", 2, lambda: [4]).number == 1
    assert latest_attempt(tmp_path, "b") is None
    for damage in ("", "[]", "{", json.dumps({"format": "fedvoice-attempt-1"}), '"x"'):
        (tmp_path / "attempt.json").write_text(damage)
        assert latest_attempt(tmp_path, "a") is None
