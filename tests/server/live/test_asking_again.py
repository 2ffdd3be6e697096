"""A device that ends at each question is sent it again ever less often: messages over simulated time."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from server.live import flower_run
from server.live import grid as live_grid
from server.live.grid import LiveGrid, Pace


class RestartingNode:
    """Flower's grid with one node, which comes online anew each time that somebody looks."""

    def __init__(self, lost: bool) -> None:
        self.looks, self.lost = 0, lost
        self.pushed: list[float] = []
        self.now = 0.0

    def get_nodes(self) -> list[Any]:
        self.looks += 1
        return [SimpleNamespace(node_id=7, last_activated_at="never" if self.lost else str(self.looks))]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        sent = list(messages)
        self.pushed += [self.now] * len(sent)
        return [""] if self.lost else [f"message {len(self.pushed)}"]


@pytest.mark.parametrize("lost", [False, True], ids=["restarts", "not taken"])
def test_the_weights_go_out_a_few_times_and_not_each_second(
    monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Before: once a second, 3,600 times in the hour."""
    for name, value in {"_run_id": 1, "_task_id": 1, "_node_id": 1}.items():
        monkeypatch.setattr(TaskIdentity, name, value)
    node = RestartingNode(lost)

    def sleep(seconds: float) -> None:
        node.now += max(seconds, 0.01)

    monkeypatch.setattr(live_grid, "time", SimpleNamespace(monotonic=lambda: node.now, sleep=sleep))
    monkeypatch.setattr(flower_run, "announced_replies", lambda *_: [])
    asked = Message(RecordDict(), dst_node_id=7, message_type="train", group_id="1")
    assert list(LiveGrid(node, pace=Pace()).stream([asked], timeout=3600.0)) == []  # type: ignore[arg-type]
    first_minute = sum(at < 60 for at in node.pushed)
    assert first_minute <= 8
    assert 50 < len(node.pushed) <= 70
    # The second time is soon: a device that restarts once loses little.
    assert node.pushed[1] - node.pushed[0] < 3
