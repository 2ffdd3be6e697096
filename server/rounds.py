"""The federation's rounds, on any Flower grid: sample, send, add up as replies arrive, step, checkpoint.

The same loop runs a simulation in worker processes, Flower's own simulation engine and live SuperNodes;
only the grid differs. Replies are added up one by one, so the server's memory does not grow with the
cohort, and exactly, so that the order in which they arrive changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from server.accounting import Accountant, accountant_for
from server.aggregation import StreamingSum, validate_update
from server.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from server.downlink import Downlink
from server.mechanisms import CentralGaussian, sample_cohort
from server.optimizers import ServerOptimizer, build_server_optimizer
from shared_models import wire
from shared_models.compression import update_codec
from shared_models.config import Recipe, recipe_from_json
from shared_models.errors import CheckpointError, FedVoiceError, PrivacyError, WireError
from shared_models.partition import Partition
from shared_models.seeds import generator

_POLL_SECONDS = 0.02
SENT_TWICE = "sent twice"


@dataclass(frozen=True, slots=True)
class RoundReport:
    """One finished round, for progress bars and the metrics file. Nothing in it is a client's own."""

    round: int
    rounds: int
    clients: int
    """Updates that were added up."""
    dropped: dict[str, int]
    """Why others were not, and how many."""
    epsilon: float | None
    update_norm: float
    """Norm of the (noised) mean update."""
    seconds: float


@dataclass(frozen=True, slots=True)
class FederationPlan:
    """What a federation runs with."""

    recipe: Recipe
    partition: Partition
    initial: Tensor
    """``(D,)`` float32, the shared weights of round 0."""
    folder: Path
    """Where checkpoints go."""
    run: str
    """The run's name, by which devices keep their personal parameters apart."""
    clients: int
    """How many clients take part; the rounds start when all of them are there."""
    seeded_noise: bool = False
    """Draw the noise from the recipe's seed, so that a simulation repeats. Never in a live run: the seed is
    in the recipe that every device gets, and noise that can be computed protects nobody."""
    join_seconds: float = 300.0
    reply_seconds: float = 3600.0


@runtime_checkable
class StreamingGrid(Protocol):
    """A grid that hands replies over one at a time, each valid until the next is asked for."""

    def stream(self, messages: Iterable[Message], timeout: float | None = None) -> Iterator[Message]:
        """Send the messages and yield the replies as they arrive, for at most ``timeout`` seconds."""


@dataclass(slots=True)
class _State:
    round: int
    weights: Tensor
    optimizer: ServerOptimizer
    accountant: Accountant | None
    downlink: Downlink


def federate(
    grid: Grid, plan: FederationPlan, on_round: Callable[[RoundReport, Tensor], None] | None = None
) -> Tensor:
    """Run (or go on with) a federation to its last round and return the shared weights ``(D,)``.

    Raises :class:`CheckpointError` if the folder holds another federation's checkpoints, and
    :class:`FedVoiceError` if too few clients join within ``plan.join_seconds``.
    """
    if plan.recipe.privacy.noise_cohort and plan.recipe.privacy.mode != "none" and not plan.seeded_noise:
        raise PrivacyError(
            "privacy.noise_cohort scales the noise down to a cohort that is not there, which is for simulations: "
            "remove it, or the people who take part would not have the epsilon that is stated"
        )
    state = _restore(plan)
    nodes: dict[int, int] = {}
    while state.round < plan.recipe.federation.rounds:
        nodes = nodes or meet_clients(grid, plan.clients, plan.join_seconds)
        report = _one_round(grid, plan, state, nodes)
        if on_round is not None:
            on_round(report, state.weights)
        # After the report: a kill in between makes the round run again, and never leaves it unreported.
        _save(plan, state)
    return state.weights


def meet_clients(grid: Grid, expected: int, seconds: float) -> dict[int, int]:
    """Wait for all clients and ask each which partition it holds: ``{partition: node id}``.

    Flower's own strategies sample whoever has registered at that instant, or wait without end.
    """
    deadline = time.monotonic() + seconds
    while len(ids := list(grid.get_node_ids())) < expected:
        if time.monotonic() > deadline:
            raise FedVoiceError(
                f"only {len(ids)} of {expected} clients joined within {seconds:.0f} s: start the missing ones, or "
                "lower the expected number"
            )
        time.sleep(_POLL_SECONDS)
    asked = [
        Message(RecordDict(), dst_node_id=node, message_type="query.hello", group_id="hello") for node in ids
    ]
    nodes = {}
    for reply in replies(grid, asked, seconds):
        if not reply.has_error():
            nodes[_partition_of(reply)] = reply.metadata.src_node_id
    if len(nodes) < expected:
        raise FedVoiceError(
            f"{len(nodes)} of {expected} clients answered the server's greeting: see the others' logs for the reason"
        )
    return nodes


def _partition_of(reply: Message) -> int:
    partition = reply.content.config_records["hello"]["partition"]
    if not isinstance(partition, int):
        raise WireError(f"a client greeted with the partition {partition!r}, which is no number")
    return partition


def replies(grid: Grid, messages: Sequence[Message], seconds: float) -> Iterator[Message]:
    """Send messages and yield each reply as it arrives, on any grid, for at most ``seconds``."""
    if isinstance(grid, StreamingGrid):
        yield from grid.stream(messages, timeout=seconds)
        return
    waiting = set(grid.push_messages(messages))
    deadline = time.monotonic() + seconds
    while waiting and time.monotonic() < deadline:
        arrived = list(grid.pull_messages(waiting))
        for reply in arrived:
            waiting.discard(reply.metadata.reply_to_message_id)
            yield reply
        if not arrived:
            time.sleep(_POLL_SECONDS)


def _one_round(grid: Grid, plan: FederationPlan, state: _State, nodes: dict[int, int]) -> RoundReport:
    started = time.monotonic()
    recipe, number = plan.recipe, state.round + 1
    cohort = _sample(plan, number)
    messages = _train_messages(plan, state, number, [nodes[index] for index in cohort])
    total = StreamingSum(plan.partition.size)
    dropped: Counter[str] = Counter()
    seen: set[int] = set()
    for reply in replies(grid, messages, plan.reply_seconds) if messages else ():
        state.downlink.heard(reply)
        problem = _add_reply(reply, total, plan, number, seen)
        if problem:
            dropped[problem] += 1
    if (missing := len(messages) - total.count - sum(dropped.values()) + dropped[SENT_TWICE]) > 0:
        dropped["no reply"] = missing
    if messages and not total.count:
        raise FedVoiceError(
            f"round {number}: none of {len(messages)} clients sent a usable update; the first reason: "
            f"{next(iter(dropped))}"
        )
    mean = _release(plan, state, total, number)
    state.weights = state.optimizer.step(state.weights, mean)
    state.round = number
    return RoundReport(
        round=number,
        rounds=recipe.federation.rounds,
        clients=total.count,
        dropped=dict(dropped),
        epsilon=state.accountant.epsilon(recipe.privacy.delta) if state.accountant else None,
        update_norm=float(mean.norm()),
        seconds=time.monotonic() - started,
    )


def _sample(plan: FederationPlan, number: int) -> list[int]:
    federation = plan.recipe.federation
    rate = min(1.0, federation.cohort / plan.clients)
    # Who takes part is as secret as the noise: amplification by sampling assumes that nobody can tell.
    seeded = plan.seeded_noise or plan.recipe.privacy.mode == "none"
    rng = generator(plan.recipe.seed, "cohort", number) if seeded else None
    return sample_cohort(range(plan.clients), rate, rng, federation.sampling)


def _train_messages(plan: FederationPlan, state: _State, number: int, cohort: Sequence[int]) -> list[Message]:
    header, shared = state.downlink.encode(number, state.weights)
    record = ConfigRecord({**header, "recipe": plan.recipe.model_dump_json(), "run": plan.run})
    return [
        Message(
            state.downlink.content(node, record, shared),
            dst_node_id=node,
            message_type="train",
            group_id=str(number),
        )
        for node in cohort
    ]


def _add_reply(
    reply: Message, total: StreamingSum, plan: FederationPlan, number: int, seen: set[int]
) -> str | None:
    """Check and add one reply; the reason if it is dropped."""
    if reply.has_error():
        return reply.error.reason or f"error {reply.error.code}"
    node = reply.metadata.src_node_id
    if node in seen:
        return SENT_TWICE
    try:
        update = _decode(reply, plan, number)
        private = plan.recipe.privacy.mode == "central"
        validate_update(update, plan.partition.size, plan.recipe.privacy.clipping_norm if private else None)
    except WireError as error:
        return str(error)
    seen.add(node)
    total.add(update)
    return None


def _decode(reply: Message, plan: FederationPlan, number: int) -> Tensor:
    try:
        header = dict(reply.content.config_records["header"])
        buffer = reply.content.array_records["shared"]["shared"].data
    except KeyError as error:
        raise WireError(f"a reply without {error}") from None
    codec = update_codec(plan.recipe.compression, plan.partition)
    update = wire.decode(header, buffer, plan.partition, kind="update", round=number, codec=codec)
    return update.vector


def _release(plan: FederationPlan, state: _State, total: StreamingSum, number: int) -> Tensor:
    """The mean update ``(D,)``, noised if the recipe is private."""
    if state.accountant is None:
        return total.mean(max(1, total.count))
    # Spend before use: the accountant moves on before the noised sum exists.
    state.accountant.step()
    mechanism = central_mechanism(plan.recipe, plan.clients, state.accountant)
    seeded = generator(plan.recipe.seed, "central noise", number) if plan.seeded_noise else None
    return mechanism.release(total, seeded)


def central_mechanism(recipe: Recipe, clients: int, accountant: Accountant) -> CentralGaussian:
    """The mechanism that a private recipe runs with so many clients, with the accountant's own noise."""
    return CentralGaussian(
        clipping_norm=recipe.privacy.clipping_norm,
        noise_multiplier=accountant.noise_multiplier,
        expected_cohort=min(recipe.federation.cohort, clients),
        noise_cohort=recipe.privacy.noise_cohort,
    )


def _restore(plan: FederationPlan) -> _State:
    optimizer = build_server_optimizer(plan.recipe.federation, plan.partition.size)
    accountant = accountant_for(plan.recipe, plan.clients)
    downlink = Downlink(plan.recipe.compression, plan.partition, plan.initial)
    checkpoint = latest_checkpoint(plan.folder, schema=plan.partition.schema)
    if checkpoint is None:
        return _State(0, plan.initial.clone(), optimizer, accountant, downlink)
    if recipe_from_json(checkpoint.recipe) != plan.recipe:
        raise CheckpointError(
            f"the checkpoints in {plan.folder} were written with another recipe: resume with that one, or start a "
            "new run"
        )
    optimizer.load_state(checkpoint.optimizer)
    if accountant is not None and checkpoint.accountant is not None:
        accountant.load(checkpoint.accountant)
    return _State(checkpoint.round, checkpoint.weights, optimizer, accountant, downlink)


def _save(plan: FederationPlan, state: _State) -> None:
    save_checkpoint(
        plan.folder,
        Checkpoint(
            round=state.round,
            weights=state.weights,
            schema=plan.partition.schema,
            recipe=plan.recipe.model_dump_json(),
            optimizer=state.optimizer.state(),
            accountant=state.accountant.state() if state.accountant else None,
        ),
    )
