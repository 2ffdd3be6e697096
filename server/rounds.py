"""The federation's rounds, on any Flower grid: sample, send, add up as replies arrive, step, checkpoint.

The same loop runs a simulation in worker processes, Flower's own simulation engine and live SuperNodes;
only the grid and the roster differ. Replies are added up one by one, so the server's memory does not grow with
the cohort, and exactly, so that the order in which they arrive changes nothing.

In a live federation devices come and go, and privacy is accounted for as if they did not. The cohort is drawn from
the whole population, online or not. A drawn device that delivers no update counts as one that sent zeros, and the
sum is divided by the expected cohort. A round in which *no* device delivers is no exception: under central privacy
it is released as noise and paid for. Repeating it would be free only if the repetition drew the same devices. It does
not: with one device online among many, "repeat until an update comes" draws that device with certainty, where the
accountant claims a rate of cohort / N. Two things protect the budget from an outage: the quorum and the floor, which
look at who is online *before* the cohort is drawn (:mod:`server.cohort_floor`), and an end after a few rounds without
an update (:mod:`server.fruitless`). Without privacy such a round is repeated with another cohort.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from flwr.serverapp import Grid
from torch import Tensor

from server.accounting import Accountant
from server.attempts import Attempt, begin_attempt, latest_attempt
from server.cohort_floor import check_cohort, devices_needed, sampling_rate
from server.exchange import Exchange
from server.exchange import StreamingGrid as StreamingGrid
from server.exchange import replies as replies
from server.federation_state import FederationState, restore, save
from server.fruitless import brought_nothing, refuse_if_fruitless, refuse_if_rolled_back
from server.gathering import Gatherer, Tally
from server.mechanisms import CentralGaussian, sample_cohort
from server.plan import FederationPlan as FederationPlan
from server.plan import OnRound, OnWait, Waiting
from server.plan import RoundReport as RoundReport
from server.robust import Aggregate, Mean
from server.rosters import GreetedRoster, Roster
from server.rosters import meet_clients as meet_clients
from server.shrinkage import james_stein_factor, squared_norm
from shared_models.config import Recipe
from shared_models.errors import FedVoiceError, FruitlessError, NotFiniteError, PrivacyError, StorageError
from shared_models.seeds import generator

T = TypeVar("T")

_QUORUM_POLL_SECONDS = 0.2
_LONGEST_PAUSE = 60.0


@dataclass(slots=True)
class _Federation:
    """What all rounds share."""

    plan: FederationPlan
    state: FederationState
    gatherer: Gatherer
    roster: Roster
    on_wait: OnWait


def federate(
    grid: Grid, plan: FederationPlan, on_round: OnRound | None = None, on_wait: OnWait | None = None
) -> Tensor:
    """Run (or go on with) a federation to its last round and return the shared weights ``(D,)``.

    ``on_round`` hears of a live round once its checkpoint is on the disk, so that nothing of a noised sum is
    seen that could be drawn again; when a run goes on it hears of the last round once more, in case a crash came
    in between. A simulation's round repeats to the bit, and is told of before its checkpoint. ``on_wait``
    hears, many times, why a live run pauses.

    Raises :class:`CheckpointError` if the folder holds another federation's checkpoints, :class:`RecipeError` if
    the algorithm sends no updates or the expected cohort is too small ever to begin, and :class:`NotFiniteError` for
    weights that are not finite, which are never stored; live, :class:`FruitlessError` and :class:`StaleCopyError`
    (see :mod:`server.fruitless`); in a simulation, :class:`FedVoiceError` if too few clients join in time or none
    sends a usable update.
    """
    _check(plan)
    on_wait = on_wait or (lambda _: None)
    roster = plan.roster or GreetedRoster(grid, plan.clients, plan.join_seconds)
    federation = _Federation(plan, restore(plan), Gatherer(Exchange(grid), plan), roster, on_wait)
    state = federation.state
    if state.lost:
        reason = f"{state.lost} released rounds have no whole checkpoint: they count as spent, and are not repeated"
        on_wait(Waiting(state.round, reason, 0, 0, 0.0))
    if state.report is not None and on_round is not None and not plan.repeats:
        on_round(state.report, state.weights)
    while state.round < plan.recipe.federation.rounds:
        report = _one_round(federation)
        tell = partial(on_round, report, state.weights) if on_round is not None else None
        if tell is not None and plan.repeats:
            tell()
        _stored(federation, report.round, partial(save, plan, state))
        if plan.memory is not None and plan.private:
            # Before anybody sees the weights: a home that knows of fewer rounds is then an older copy.
            _stored(federation, report.round, partial(plan.memory.move, report.round))
        if tell is not None and not plan.repeats:
            tell()
        refuse_if_fruitless(plan, report)
    if state.report is not None:
        # A run that ended so is not done, however often it is looked at.
        refuse_if_fruitless(plan, state.report)
    return state.weights


def central_mechanism(recipe: Recipe, clients: int, accountant: Accountant) -> CentralGaussian:
    """The mechanism that a private recipe runs with so many clients, with the accountant's own noise."""
    return CentralGaussian(
        clipping_norm=recipe.privacy.clipping_norm,
        noise_multiplier=accountant.noise_multiplier,
        expected_cohort=min(recipe.federation.cohort, clients),
        noise_cohort=recipe.privacy.noise_cohort,
    )


def _check(plan: FederationPlan) -> None:
    plan.recipe.refuse_without_updates()
    plan.recipe.refuse_private_meta_learning()
    if plan.recipe.privacy.noise_cohort and plan.private and not plan.seeded_noise:
        raise PrivacyError(
            "privacy.noise_cohort scales the noise down to a cohort that is not there, which is for simulations: "
            "remove it, or the people who take part would not have the epsilon that is stated"
        )
    check_cohort(plan)


def _one_round(federation: _Federation) -> RoundReport:
    """Run a round; where it has no usable update and no privacy, again until it has."""
    plan, state, started = federation.plan, federation.state, time.monotonic()
    attempt, gathered, tally = _gather(federation, state.round + 1)
    mean, signal = _release(plan, state, gathered, attempt.round)
    shrunk = mean if signal is None or not plan.recipe.privacy.shrinkage else mean * signal
    state.weights = _finite(state.optimizer.step(state.weights, shrunk), attempt.round)
    in_vain = brought_nothing(plan, gathered.count, signal)
    state.round = attempt.round
    state.counted |= dict.fromkeys(tally.counted, attempt.round)
    state.report = RoundReport(
        round=attempt.round,
        rounds=plan.recipe.federation.rounds,
        clients=gathered.count,
        dropped=dict(tally.reasons),
        epsilon=state.accountant.epsilon(plan.recipe.privacy.delta) if state.accountant else None,
        update_norm=float(mean.norm()),
        seconds=time.monotonic() - started,
        attempt=attempt.number,
        sampled=len(attempt.cohort),
        kinds=dict(tally.kinds),
        dropped_devices=dict(sorted(tally.devices.items())),
        grouped=tally.grouped,
        late=tally.late,
        private=plan.private,
        signal=signal,
        fruitless=state.fruitless + 1 if in_vain else 0,
    )
    return state.report


def _gather(federation: _Federation, number: int) -> tuple[Attempt, Aggregate, Tally]:
    plan, state, redraw = federation.plan, federation.state, False
    failures, fruitless = 0, _fruitless_attempts(plan, number)
    while True:
        nodes = _quorum(federation, number)
        draw = partial(_sample, plan, number, failures)
        begin = partial(
            begin_attempt, plan.folder, plan.run, number, draw, redraw=redraw, fruitless=fruitless
        )
        attempt = _stored(federation, number, begin)
        gathered, tally = federation.gatherer.gather(attempt, state.weights, nodes, state.counted)
        if plan.live:
            refuse_if_rolled_back(tally)
        if not attempt.cohort or gathered.count >= plan.recipe.federation.fewest_updates:
            return attempt, gathered, tally
        # The round is then released as noise, and counted: see the module's text.
        if plan.private and plan.live:
            return attempt, gathered, tally
        failures, redraw = failures + 1, True
        # Where all that were drawn rest or are offline, nobody was asked: that is waiting.
        fruitless += tally.asked > 0
        _pause_or_end(federation, number, failures, fruitless, gathered, tally)


def _fruitless_attempts(plan: FederationPlan, number: int) -> int:
    """How many attempts at this round asked somebody and brought nothing, before this process too."""
    before = latest_attempt(plan.folder, plan.run) if plan.live else None
    return before.fruitless if before is not None and before.round == number else 0


def _sample(plan: FederationPlan, number: int, failures: int) -> list[int]:
    # Who takes part is as secret as the noise: amplification by sampling assumes that nobody can tell.
    seeded = plan.seeded_noise or not plan.private
    # A cohort that sent nothing usable is not drawn again, and a crash changes nothing.
    again = (failures,) if failures else ()
    rng = generator(plan.recipe.seed, "cohort", number, *again) if seeded else None
    return sample_cohort(range(plan.clients), sampling_rate(plan), rng, plan.recipe.federation.sampling)


def _quorum(federation: _Federation, number: int) -> Mapping[int, int]:
    """Who of the population is online, once they are enough. Nobody is drawn yet, so waiting costs nothing."""
    plan, started = federation.plan, time.monotonic()
    quorum, rate = devices_needed(plan), sampling_rate(plan)
    while True:
        nodes = {p: node for p, node in federation.roster.nodes().items() if 0 <= p < plan.clients}
        federation.gatherer.rests.forget_all_but(nodes)
        # Whoever declined a question will not answer the next: a round of none but those would be noise, and paid.
        unwilling = sum(federation.gatherer.rests.unwilling(p) for p in nodes)
        if len(nodes) - unwilling >= quorum:
            return nodes
        reason = f"{len(nodes)} of the {quorum} devices that a round needs are online"
        if rate < 1:
            reason += f", since {rate:.3g} of them are drawn"
        if unwilling:
            reason += (
                f", and {unwilling} of them said no to the last question: see who and why with serve rounds"
            )
        waited = time.monotonic() - started
        federation.on_wait(Waiting(number, reason, len(nodes), quorum, waited))
        time.sleep(_QUORUM_POLL_SECONDS)


def _pause_or_end(
    federation: _Federation, number: int, failures: int, fruitless: int, gathered: Aggregate, tally: Tally
) -> None:
    plan = federation.plan
    first = next(iter(tally.reasons), "so few were drawn")
    if gathered.count:
        found = (
            f"{gathered.count} of {tally.asked} clients sent a usable update, and {plan.recipe.federation.aggregation} "
            f"needs {plan.recipe.federation.fewest_updates}"
        )
    else:
        found = f"none of {tally.asked} clients sent a usable update"
    reason = f"round {number}: {found}; the first reason: {first}"
    if not plan.live:
        raise FedVoiceError(reason)
    if fruitless >= plan.recipe.federation.patience:
        raise FruitlessError(f"stopped after {fruitless} attempts: {reason}; go on with fedvoice serve")
    pause = min(plan.retry_seconds * 2.0 ** min(failures - 1, 16), _LONGEST_PAUSE)
    federation.on_wait(Waiting(number, reason, 0, 0, pause, tally.grouped))
    time.sleep(pause)


def _stored(federation: _Federation, number: int, write: Callable[[], T]) -> T:
    """Write; in a live run, wait for space where the disk is full: what the round has is in memory meanwhile."""
    plan, started, pause = federation.plan, time.monotonic(), federation.plan.retry_seconds
    while True:
        try:
            return write()
        except StorageError as error:
            waited = time.monotonic() - started
            if not plan.live or waited > plan.storage_seconds:
                raise
            federation.on_wait(Waiting(number, str(error), 0, 0, waited))
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _release(
    plan: FederationPlan, state: FederationState, gathered: Aggregate, number: int
) -> tuple[Tensor, float | None]:
    """The aggregated update ``(D,)``, noised if the recipe is private, and its James-Stein factor then."""
    if state.accountant is None:
        return gathered.result(), None
    if not isinstance(gathered, Mean):
        raise PrivacyError("central noise is made for a sum: set federation.aggregation = 'mean'")
    # Spend before use: the accountant moves on before the noised sum exists.
    state.accountant.step()
    mechanism = central_mechanism(plan.recipe, plan.clients, state.accountant)
    seeded = generator(plan.recipe.seed, "central noise", number) if plan.seeded_noise else None
    mean = mechanism.release(gathered.total, seeded)
    return mean, james_stein_factor(mean, mechanism.noise_on_mean)


def _finite(weights: Tensor, number: int) -> Tensor:
    """The weights, if they are numbers: no others reach a checkpoint or a device."""
    if math.isfinite(squared_norm(weights)):
        return weights
    raise NotFiniteError(
        f"round {number} ends with weights that are not finite: lower federation.server_lr or client.outer_lr in a new "
        "run; the checkpoints hold what was before it"
    )
