"""Runs that bring nothing end and say why; what is private is judged by what is released."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Error, Message
from round_players import CLIENTS, Behaviour, Live, plan_of, private_recipe, recipe_of, reply, run
from torch import Tensor

from server.attempts import latest_attempt
from server.checkpoints import latest_checkpoint
from server.fruitless import brought_nothing
from server.rounds import federate
from shared_models.errors import FruitlessError, NotFiniteError, StaleCopyError
from shared_models.refusals import Refusal, Refused


def failing(message: Message, *_: object) -> list[Message]:
    return [Message(Error(0, "AudioError: no"), reply_to=message)]


def of_everybody(behaviour: Behaviour) -> dict[int, Behaviour]:
    return dict.fromkeys(range(CLIENTS), behaviour)


def impatient(**changes: Any) -> Any:
    return private_recipe(**({"federation__rounds": 6, "federation__patience": 3} | changes))


def test_rounds_of_pure_noise_end_the_run_after_three(tmp_path: Path) -> None:
    live = Live.of(impatient(), tmp_path, of_everybody(failing))
    with pytest.raises(
        FruitlessError, match=r"stopped after round 3: .*last 3 rounds released cannot be told from"
    ):
        live.run()
    assert [(r.round, r.fruitless) for r in live.reports] == [(1, 1), (2, 2), (3, 3)]
    assert all(abs(r.signal or 0) < 0.2 for r in live.reports)
    # Who starts it again gets one round more, and not six rounds of noise.
    with pytest.raises(FruitlessError, match="stopped after round 4"):
        live.run()
    assert max(r.round for r in live.reports) == 4


def test_a_run_that_ended_so_is_never_called_done(tmp_path: Path) -> None:
    live = Live.of(impatient(federation__rounds=3), tmp_path, of_everybody(failing))
    for _ in range(2):
        with pytest.raises(FruitlessError, match="stopped after round 3"):
            live.run()


def test_noise_that_drowns_everybody_ends_the_run_too_unless_the_operator_wants_it(tmp_path: Path) -> None:
    recipe = impatient(privacy__noise_multiplier=200.0)
    with pytest.raises(FruitlessError, match="cannot be told from noise"):
        Live.of(recipe, tmp_path / "stopped").run()
    forced = Live.of(recipe, tmp_path / "forced", forced=True)
    forced.run()
    assert [r.round for r in forced.reports] == [1, 2, 3, 4, 5, 6]


def test_rounds_with_a_signal_go_on_and_say_how_much(tmp_path: Path) -> None:
    live = Live.of(impatient(privacy__noise_multiplier=0.01), tmp_path)
    live.run()
    assert [(r.round, r.fruitless) for r in live.reports] == [(n, 0) for n in range(1, 7)]
    # Six updates of norm 0.4 that have nothing to do with each other, under noise of 0.01 C a coordinate of the sum.
    signal, noise = 0.4**2 / 6, live.plan.partition.size * (0.01 * 0.5 / 6) ** 2
    assert [r.signal for r in live.reports] == pytest.approx([signal / (signal + noise)] * 6, abs=0.03)
    assert all(r.public()["signal"] == r.signal for r in live.reports)


def test_the_count_outlives_the_process(tmp_path: Path) -> None:
    live = Live.of(impatient(), tmp_path, of_everybody(failing))

    class StopError(Exception):
        pass

    def stop(report: Any, _: object) -> None:
        if report.round == 2:
            raise StopError

    with pytest.raises(StopError):
        federate(live.grid, live.plan, stop)
    with pytest.raises(FruitlessError, match="stopped after round 3"):
        live.run()


def test_under_privacy_who_answered_makes_no_difference(tmp_path: Path) -> None:
    plan = Live.of(private_recipe(), tmp_path).plan
    for signal in (0.0, 0.5, 1.0):
        assert len({brought_nothing(plan, counted, signal) for counted in (0, 1, CLIENTS)}) == 1
    assert "counted" in inspect.signature(brought_nothing).parameters


def test_without_privacy_attempts_without_an_update_end_the_run(tmp_path: Path) -> None:
    live = Live.of(recipe_of(), tmp_path, of_everybody(failing))
    with pytest.raises(
        FruitlessError, match=r"stopped after 3 attempts: round 1: none of 6 .*AudioError: no"
    ):
        live.run()
    attempt = latest_attempt(tmp_path, "run")
    assert attempt is not None
    assert (attempt.number, attempt.fruitless) == (3, 2)
    with pytest.raises(FruitlessError):
        live.run()
    again = latest_attempt(tmp_path, "run")
    assert again is not None
    assert again.number == 4, "one attempt more for whoever starts it again"


def giant(message: Message, update: Tensor, _: int) -> list[Message]:
    return [reply(message, update * (50 / update.abs().max()))]


@pytest.mark.parametrize("live", [False, True])
def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path, live: bool) -> None:
    # Each update is finite and within bounds, and the step beyond what float32 holds.
    recipe = recipe_of(federation__server_lr=1e38, federation__rounds=2)
    served = Live.of(recipe, tmp_path, of_everybody(giant))
    simulated = partial(run, plan_of(recipe, tmp_path), of_everybody(giant))
    with pytest.raises(NotFiniteError, match="round 1 ends with weights that are not finite"):
        served.run() if live else simulated()
    assert latest_checkpoint(tmp_path) is None


def restored(message: Message, *_: object) -> list[Message]:
    said = "this server was restored from an older copy: it asks for round 1 and this device answered round 4"
    return [Message(Error(0, str(Refused(Refusal.SERVER_ROLLED_BACK, said))), reply_to=message)]


@pytest.mark.parametrize("make", [private_recipe, recipe_of])
def test_devices_that_say_the_server_is_an_old_copy_end_the_run(tmp_path: Path, make: Any) -> None:
    live = Live.of(make(), tmp_path, dict.fromkeys(range(3), restored))
    with pytest.raises(
        StaleCopyError, match=r"3 devices refuse to answer, since this server was restored .* round 4"
    ):
        live.run()
    assert not live.reports, "nothing was released"


@pytest.mark.parametrize("liars", [1, 2])
def test_few_of_many_who_say_so_are_not_believed(tmp_path: Path, liars: int) -> None:
    live = Live.of(recipe_of(federation__rounds=1), tmp_path, dict.fromkeys(range(liars), restored))
    live.run()
    assert [r.round for r in live.reports] == [1]


def test_shrinking_is_what_the_recipe_says_and_of_the_released_mean(tmp_path: Path) -> None:
    plain = private_recipe(federation__rounds=1, federation__patience=1000)
    shrunk = plain.override({"privacy.shrinkage": True})
    whole, (report,) = run(plan_of(plain, tmp_path / "plain"))
    less, (same,) = run(plan_of(shrunk, tmp_path / "shrunk"))
    start = plan_of(plain, tmp_path).initial
    assert report.signal == same.signal
    assert report.signal is not None
    torch.testing.assert_close(less - start, (whole - start) * report.signal, rtol=1e-5, atol=1e-7)
    assert report.update_norm == same.update_norm, "what is told is what was released"
    assert replace(report, seconds=0) == replace(same, seconds=0)
