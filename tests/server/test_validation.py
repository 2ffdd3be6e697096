"""Every wrong reply is dropped under its own name, and costs nobody but its sender."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from round_players import CLIENTS, Behaviour, Live, expected, plan_of, private_recipe, recipe_of, reply, run
from torch import Tensor

from server import validation
from server.validation import printable
from shared_models import wire


def changed(**header: Any) -> Behaviour:
    return lambda message, update, _: [reply(message, update, **header)]


def times(factor: float) -> Behaviour:
    return lambda message, update, _: [reply(message, update * factor)]


def with_value(value: float) -> Behaviour:
    def behaviour(message: Message, update: Tensor, _: int) -> list[Message]:
        update[5] = value
        return [reply(message, update)]

    return behaviour


def failing(reason: str) -> Behaviour:
    return lambda message, *_: [Message(Error(0, reason), reply_to=message)]


def with_array(dtype: str, shape: tuple[int, ...], data: bytes) -> Behaviour:
    def behaviour(message: Message, update: Tensor, _: int) -> list[Message]:
        made = reply(message, update)
        made.content["shared"] = ArrayRecord({"shared": Array(dtype, shape, wire.STYPE, data)})
        return [made]

    return behaviour


def with_record(name: str, record: Any) -> Behaviour:
    def behaviour(message: Message, update: Tensor, _: int) -> list[Message]:
        made = reply(message, update)
        made.content[name] = record
        return [made]

    return behaviour


def bare(message: Message, *_: object) -> list[Message]:
    return [Message(RecordDict(), reply_to=message)]


SIZE = plan_of(recipe_of(), Path()).partition.size
WRONG: dict[str, tuple[Behaviour, str, str]] = {
    "schema": (changed(schema="another"), "malformed", "schema 'another'"),
    "size": (changed(size=3), "malformed", "size 3"),
    "dtype": (changed(dtype="float64"), "malformed", "dtype 'float64'"),
    "kind": (changed(kind="weights"), "malformed", "kind 'weights'"),
    "true is not one": (changed(round=True), "malformed", "round True"),
    "label": (with_array("float64", (SIZE,), bytes(4 * SIZE)), "malformed", "labelled float64"),
    "shape": (with_array("float32", (1, SIZE), bytes(4 * SIZE)), "malformed", r"shape \(1, "),
    "truncated": (with_array("float32", (SIZE,), bytes(4 * SIZE - 4)), "malformed", "truncated"),
    "oversized": (with_array("float32", (SIZE,), bytes(4 * SIZE + 4)), "oversized", "where this size takes"),
    "long header": (changed(note="x" * 100_000), "oversized", "header of more than"),
    "nan": (with_value(math.nan), "not finite", "NaN"),
    "infinite": (with_value(math.inf), "not finite", "infinite"),
    "huge": (times(1e6), "norm", "clipping norm"),
    "norm of a hundred clips": (times(125), "norm", "clipping norm"),
    "last round": (changed(round=0), "replayed", "round 0 where this side has 1"),
    "next round": (changed(round=2), "replayed", "round 2 where this side has 1"),
    "another run": (changed(run="last year"), "replayed", "run 'last year'"),
    "another attempt": (changed(attempt=4), "replayed", "attempt 4 where this side has 1"),
    "no header": (bare, "malformed", "without 'header'"),
    "more than asked": (with_record("voice", ArrayRecord()), "malformed", "with 'voice'"),
    "metrics": (with_record("loss", MetricRecord({"loss": 1.0})), "malformed", "with 'loss'"),
    "declined": (failing("[declined] policy.minimum_noise_multiplier is 2, the recipe has 1"), "declined",
                 "minimum_noise_multiplier is 2"),
    "failed": (failing("AudioError: no"), "failed", "AudioError"),
    "silent": (lambda *_: [], "no reply", "no reply"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_is_dropped_by_name_and_the_others_count(tmp_path: Path, name: str) -> None:
    behaviour, kind, reason = WRONG[name]
    plan = plan_of(
        private_recipe(federation__rounds=1, federation__sampling="fixed", privacy__noise_multiplier=0.1),
        tmp_path,
    )
    _, (report,) = run(plan, {2: behaviour})
    assert report.clients == CLIENTS - 1
    assert report.kinds == {kind: 1}
    assert list(report.dropped_devices) == [2]
    assert re.search(reason, report.dropped_devices[2])
    assert report.dropped == {report.dropped_devices[2]: 1}


def test_an_echo_of_run_and_attempt_is_accepted(tmp_path: Path) -> None:
    plan = plan_of(recipe_of(federation__rounds=1), tmp_path)
    weights, (report,) = run(plan, {1: changed(run="run", attempt=1)})
    assert report.dropped == {}
    assert torch.allclose(weights, expected(plan, 1, list(range(CLIENTS))), atol=1e-7)


def test_the_first_reply_of_a_device_decides(tmp_path: Path) -> None:
    def bad_then_good(message: Message, update: Tensor, _: int) -> list[Message]:
        return [reply(message, update, schema="x"), reply(message, update)]

    plan = plan_of(recipe_of(federation__rounds=1), tmp_path)
    _, (report,) = run(plan, {0: bad_then_good})
    assert report.clients == CLIENTS - 1
    assert report.kinds == {"malformed": 1, "sent twice": 1}
    assert "schema" in report.dropped_devices[0]


def test_size_is_looked_at_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = wire.decode
    monkeypatch.setattr(
        validation.wire, "decode", lambda *a, **k: decoded.append(len(a[1])) or decode(*a, **k)
    )
    run(plan_of(recipe_of(federation__rounds=1), tmp_path), {0: WRONG["oversized"][0]})
    assert decoded == [4 * SIZE] * (CLIENTS - 1)


def test_without_privacy_a_recipe_may_limit_the_norm_itself(tmp_path: Path) -> None:
    for limit, counted in ((None, CLIENTS), (1.0, CLIENTS - 1), (3.0, CLIENTS)):
        recipe = recipe_of(federation__rounds=1, federation__largest_norm=limit)
        _, (report,) = run(plan_of(recipe, tmp_path / str(limit)), {4: times(7)})  # norm 2.8
        assert report.clients == counted
        assert set(report.kinds) == (set() if counted == CLIENTS else {"norm"})


def test_a_reply_of_a_device_that_was_not_asked_counts_for_nobody(tmp_path: Path) -> None:
    recipe = recipe_of(federation__rounds=1, federation__cohort=2)
    live = Live.of(recipe, tmp_path)
    pull = live.grid.pull_messages

    def forge(numbers: Any) -> list[Message]:
        found = pull(numbers)
        for message in found[:1]:
            message.metadata.__dict__["_src_node_id"] = 999
        return found

    live.grid.pull_messages = forge  # type: ignore[method-assign]
    live.run()
    (report,) = live.reports
    assert report.clients == 1
    assert report.kinds == {"not asked": 1, "no reply": 1}
    assert "node 999 was not asked" in report.dropped


def test_what_a_device_says_is_made_fit_for_a_log() -> None:
    said = printable("one\ntwo\x1b[31m\0" + "x" * 10_000)
    assert said.startswith("one two [31m x")
    assert len(said) == 300


def test_a_hostile_header_of_odd_types_is_no_crash(tmp_path: Path) -> None:
    def odd(message: Message, update: Tensor, _: int) -> list[Message]:
        made = reply(message, update)
        made.content["header"] = ConfigRecord({"kind": [1.0], "round": b"1", "size": "x", "attempt": [1, 2]})
        return [made]

    _, (report,) = run(plan_of(recipe_of(federation__rounds=1), tmp_path), {0: odd})
    assert report.kinds == {"replayed": 1}
