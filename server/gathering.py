"""One attempt at a round: ask the cohort, judge each reply, add up what counts, name what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import Message
from torch import Tensor

from server.attempts import Attempt
from server.downlink import Downlink
from server.exchange import Exchange
from server.plan import FederationPlan
from server.resting import Rests
from server.robust import Aggregate, aggregate_for
from server.round_messages import train_messages
from server.validation import REFUSALS, Drop, Expected, Inspector, UnusableUpdateError
from shared_models.compression import update_codec
from shared_models.errors import WireError

_REMEMBERED_ROUNDS = 8
_SENTENCES_OF_A_KIND = 12
OTHER_WORDS = "in other words"
"""Stands for the sentences of a kind that are one too many: devices could make up a new one each."""


@dataclass(slots=True)
class Tally:
    """Who counted in one attempt at a round, who did not, and why."""

    asked: int = 0
    """Devices that were sent the round's message."""
    counted: list[int] = field(default_factory=list)
    """Members."""
    reasons: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    grouped: dict[str, dict[str, int]] = field(default_factory=dict)
    """Kind to what was said to how often, for the operator; a few sentences a kind, whatever devices say."""
    devices: dict[int, str] = field(default_factory=dict)
    """Member to reason."""
    late: dict[int, int] = field(default_factory=dict)
    """Member to the earlier round that it answered."""

    @property
    def refused(self) -> int:
        """Devices that answered with a reason instead of an update."""
        return sum(self.kinds[kind.value] for kind in REFUSALS)

    def drop(self, member: int | None, kind: Drop, reason: str | None = None) -> None:
        """One update more does not count; ``member`` is None if nobody knows whose it was."""
        said = reason or kind.value
        self.reasons[said] += 1
        self.kinds[kind.value] += 1
        group = self.grouped.setdefault(kind.value, {})
        shown = said if said in group or len(group) < _SENTENCES_OF_A_KIND else OTHER_WORDS
        group[shown] = group.get(shown, 0) + 1
        if member is not None:
            self.devices.setdefault(member, reason or kind.value)


class Gatherer:
    """Asks cohorts for their updates, and remembers whom, so that who comes late is known by name."""

    def __init__(self, exchange: Exchange, plan: FederationPlan) -> None:
        self._exchange = exchange
        self._plan = plan
        self._downlink = Downlink(plan.recipe.compression, plan.partition, plan.initial)
        self.rests = Rests(plan.rest_seconds)
        self._asked: dict[int, dict[int, int]] = {}

    def gather(
        self, attempt: Attempt, weights: Tensor, nodes: Mapping[int, int], counted: Mapping[int, int]
    ) -> tuple[Aggregate, Tally]:
        """The updates of an attempt's cohort to ``weights`` ``(D,)``, as far as they are usable.

        ``nodes`` are those online, ``counted`` is what each header says under ``seen``.
        """
        plan = self._plan
        tally = Tally()
        reached = self._reached(attempt, nodes, tally)
        tally.asked = len(reached)
        self._name_the_late(tally)
        self._remember(attempt.round, reached)
        gathered = aggregate_for(plan.recipe.federation, plan.partition.size)
        inspector = Inspector(_expected(plan, attempt), {node: p for p, node in reached.items()})
        if reached:
            messages = train_messages(plan, self._downlink, weights, attempt, reached, counted)
            self._take(messages, inspector, gathered, tally)
        for member in reached:
            if member not in tally.devices and member not in tally.counted:
                tally.drop(member, Drop.NOT_NEEDED if self._full(gathered) else Drop.NO_REPLY)
        return gathered, tally

    def _reached(self, attempt: Attempt, nodes: Mapping[int, int], tally: Tally) -> dict[int, int]:
        """Those of the cohort that are asked, as member to node; the others are dropped by name."""
        roster, reached = self._plan.roster, {}
        absent = [member for member in attempt.cohort if member not in nodes]
        why_absent = roster.absences(absent) if roster and absent else {}
        for member in attempt.cohort:
            if member not in nodes:
                tally.drop(member, why_absent.get(member, Drop.OFFLINE))
            elif roster is not None and (why := self.rests.why(member)):
                tally.drop(member, Drop.RESTING, why)
            else:
                reached[member] = nodes[member]
        return reached

    def _take(self, messages: list[Message], inspector: Inspector, gathered: Aggregate, tally: Tally) -> None:
        arriving = self._exchange.ask(messages, self._plan.deadline, lambda: self._full(gathered))
        for reply in arriving:
            self._downlink.heard(reply)
            member = inspector.member_of(reply)
            try:
                update = inspector.update(reply)
            except UnusableUpdateError as error:
                tally.drop(member, error.kind, str(error))
                if member is not None:
                    self.rests.refused(member, error.kind, str(error))
                continue
            except WireError as error:
                tally.drop(member, Drop.MALFORMED, str(error))
                continue
            if member is None or self._full(gathered):
                tally.drop(member, Drop.NOT_NEEDED)
                continue
            gathered.add(member, update)
            tally.counted.append(member)
            self.rests.over(member)

    def _full(self, gathered: Aggregate) -> bool:
        """Whether an over-sampled round has its cohort; those who come after it are not needed."""
        federation = self._plan.recipe.federation
        return federation.over_sampling > 1 and gathered.count >= min(federation.cohort, self._plan.clients)

    def _remember(self, round_number: int, reached: Mapping[int, int]) -> None:
        self._asked.setdefault(round_number, {}).update({node: p for p, node in reached.items()})
        for old in sorted(self._asked)[:-_REMEMBERED_ROUNDS]:
            del self._asked[old]

    def _name_the_late(self, tally: Tally) -> None:
        for reply in self._exchange.late():
            group = reply.metadata.group_id
            round_number = int(group) if group.isdigit() else -1
            member = self._asked.get(round_number, {}).get(reply.metadata.src_node_id)
            # Under the round at hand, but not as one of its cohort, which it may be too.
            tally.drop(None, Drop.TOO_LATE)
            if member is not None:
                tally.late[member] = round_number


def _expected(plan: FederationPlan, attempt: Attempt) -> Expected:
    return Expected(
        partition=plan.partition,
        run=plan.run,
        round=attempt.round,
        attempt=attempt.number,
        codec=update_codec(plan.recipe.compression, plan.partition),
        clip=plan.recipe.privacy.clipping_norm if plan.private else None,
        largest_norm=plan.recipe.federation.largest_norm,
    )
