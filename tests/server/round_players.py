"""Recipes, honest and dishonest clients, and a grid whose devices come and go, for tests of the rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from fake_grid import FakeGrid
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from tiny_federation import tiny_recipe
from torch import Tensor

from server.app import plan_for
from server.plan import FederationPlan, RoundReport, Waiting
from server.rosters import RegisteredRoster
from server.rounds import federate
from shared_models import wire
from shared_models.config import Recipe
from shared_models.seeds import generator
from simulations.engine.task_identity import FIRST_CLIENT_NODE_ID

CLIENTS = 6
Behaviour = Callable[[Message, Tensor, int], list[Message]]


def recipe_of(**changes: Any) -> Recipe:
    """A recipe whose rounds are plain averages of tiny updates."""
    plain = {"aligner__learn": "never", "federation__cohort": CLIENTS, "federation__server_optimizer": "fedavg",
             "federation__server_lr": 1.0, "model__hidden": 8, "model__filter": 8}  # fmt: skip
    return tiny_recipe(**(plain | changes))


def private_recipe(**changes: Any) -> Recipe:
    """The same with central privacy and Poisson sampling, for tests that have no floor and no end in mind."""
    private = {"federation__minimum_cohort": 0, "federation__patience": 1000,
               "privacy__mode": "central", "privacy__noise_multiplier": 1.0, "privacy__delta": 1e-5,
               "privacy__clipping_norm": 0.5, "federation__sampling": "poisson"}  # fmt: skip
    return recipe_of(**(private | changes))


def plan_of(recipe: Recipe, folder: Path, *, seeded: bool = True, clients: int = CLIENTS) -> FederationPlan:
    """A simulation's plan."""
    return replace(plan_for(recipe, folder, "run", clients, seeded_noise=seeded), reply_seconds=0.2)


def update_of(client: int, number: int, size: int) -> Tensor:
    """A small update of norm 0.4 that depends on client and round."""
    update = torch.randn(size, generator=generator("update", client, number))
    return update * (0.4 / update.norm())


def reply(message: Message, vector: Tensor, **header: Any) -> Message:
    """A reply with a header that is right, but for the fields given."""
    agreed = dict(message.content["header"])
    said = {k: agreed[k] for k in ("schema", "round", "dtype")} | {"kind": "update", "size": vector.numel()}
    array = Array("float32", tuple(vector.shape), wire.STYPE, vector.contiguous().numpy().tobytes())
    content = {"header": ConfigRecord(said | header), "shared": ArrayRecord({"shared": array})}
    return Message(RecordDict(content), reply_to=message)


def honest(message: Message, update: Tensor, number: int) -> list[Message]:  # noqa: ARG001
    """One right reply."""
    return [reply(message, update)]


def silent(*_: object) -> list[Message]:
    """None."""
    return []


def answers(
    size: int, behaviours: Mapping[int, Behaviour] | None = None
) -> Callable[[int, Message], list[Message]]:
    """What clients answer, by their behaviour; honest without one."""

    def answer(client: int, message: Message) -> list[Message]:
        if message.metadata.message_type == "query.hello":
            content = RecordDict({"hello": ConfigRecord({"member": client})})
            return [Message(content, reply_to=message)]
        number = int(dict(message.content["header"])["round"])
        behaviour = (behaviours or {}).get(client, honest)
        return behaviour(message, update_of(client, number, size), number)

    return answer


def grid_of(plan: FederationPlan, behaviours: dict[int, Behaviour] | None = None) -> FakeGrid:
    """A grid of all the plan's clients."""
    return FakeGrid(plan.clients, answers(plan.partition.size, behaviours))


def run(
    plan: FederationPlan, behaviours: dict[int, Behaviour] | None = None
) -> tuple[Tensor, list[RoundReport]]:
    """A whole simulation and its reports."""
    reports: list[RoundReport] = []
    weights = federate(grid_of(plan, behaviours), plan, lambda report, _: reports.append(report))
    return weights, reports


def expected(plan: FederationPlan, rounds_: int, clients: list[int]) -> Tensor:
    """The weights after rounds in which just these clients counted."""
    weights = plan.initial.double()
    for number in range(1, rounds_ + 1):
        updates = [update_of(c, number, plan.partition.size).double() for c in clients]
        weights = weights + torch.stack(updates).mean(0)
    return weights.float()


class DevicesGrid(FakeGrid):
    """Devices that are online or not, and answer after a while."""

    def __init__(self, plan: FederationPlan, behaviours: Mapping[int, Behaviour] | None = None) -> None:
        super().__init__(plan.clients, answers(plan.partition.size, behaviours))
        self.online = set(range(plan.clients))
        self.delays: dict[int, float] = {}
        """Client to the seconds that its replies take, none by default."""
        self.asked: list[tuple[int, dict[str, Any]]] = []
        """Clients and headers, in the order sent."""
        self._due: dict[str, float] = {}

    def get_node_ids(self) -> list[int]:
        """The nodes online."""
        return [FIRST_CLIENT_NODE_ID + client for client in sorted(self.online)]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Notes what is asked, and when it may be pulled."""
        sent = list(messages)
        numbers = super().push_messages(sent)
        for number, message in zip(numbers, sent, strict=True):
            client = message.metadata.dst_node_id - FIRST_CLIENT_NODE_ID
            self._due[number] = time.monotonic() + self.delays.get(client, 0.0)
            if message.metadata.message_type == "train":
                self.asked.append((client, dict(message.content["header"])))
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """What has arrived by now."""
        now = time.monotonic()
        return super().pull_messages([number for number in message_ids if self._due[number] <= now])

    def registered(self) -> dict[int, int]:
        """Every device, as a registry has them."""
        return {client: FIRST_CLIENT_NODE_ID + client for client in range(self.clients)}


@dataclass
class Live:
    """A live run on a grid of functions, which may be run again as after a crash."""

    plan: FederationPlan
    grid: DevicesGrid
    reports: list[RoundReport] = field(default_factory=list)
    waits: list[Waiting] = field(default_factory=list)
    seen: list[tuple[int, Tensor]] = field(default_factory=list)
    """Round and weights, of everything that was told."""

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        folder: Path,
        behaviours: Mapping[int, Behaviour] | None = None,
        *,
        clients: int = CLIENTS,
        **changes: Any,
    ) -> Live:
        """A run that keeps its checkpoints in ``folder``; ``changes`` are fields of the plan."""
        quick = {"retry_seconds": 1e-4, "rest_seconds": 0.0} | changes
        plan = replace(plan_of(recipe, folder, seeded=False, clients=clients), **quick)
        grid = DevicesGrid(plan, behaviours)
        return cls(replace(plan, roster=RegisteredRoster(grid.registered, grid)), grid)

    def run(self) -> Tensor:
        """The federation, from where it is."""

        def note(report: RoundReport, weights: Tensor) -> None:
            self.reports.append(report)
            self.seen.append((report.round, weights.clone()))

        return federate(self.grid, self.plan, note, self.on_wait)

    def on_wait(self, waiting: Waiting) -> None:
        """Notes why it waits."""
        self.waits.append(waiting)
