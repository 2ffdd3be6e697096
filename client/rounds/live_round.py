"""Whether a device takes part in a round of a live federation, and what it keeps of its part.

These are checked in this order, before anything is trained: the owner's policy on the recipe; the policy on what would
be sent; whether the device still answers this run, and whether its recipe is the one that was agreed to; whether the
same question was answered before; whether the server was rolled back; the weights; whether this device's files are the
newest; the sampling rate that the server claims; the ledger.

Four things are on the disk before a reply leaves, in this order: its cost, that its question was admitted, the reply
itself, that it is about to leave. A crash between two of them loses work at most.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from client.home.device import Device
from client.home.ledger import Ledger
from client.home.ledger_anchor import LedgerAnchor
from client.home.ledger_witnesses import check_against_witnesses, check_beginning, check_personal_files
from client.home.policy import Policy, load_policy
from client.home.spending import Claim, claim_of, reserve_round, rounds_known
from client.rounds.answers import Answers, RunRecord
from client.rounds.claimed_coin import suspicion
from client.rounds.outbox import Letter, Outbox
from client.rounds.pinned_recipe import refusal_of_change
from client.rounds.question import Question
from client.rounds.reference_weights import reference_for
from client.rounds.weights_check import Reach, noise_after, norms_of, refusal_of_weights
from shared_models import wire
from shared_models.config import Recipe
from shared_models.errors import BudgetError, DeclinedError, ServerRolledBackError, StaleCopyError
from shared_models.files import write_atomically
from shared_models.partition import Partition


@dataclass(slots=True)
class LiveRound:
    """One round on one device's own terms."""

    device: Device
    recipe: Recipe
    header: Mapping[str, Any]
    policy: Policy
    claim: Claim | None
    """What the recipe says about the noise; None in mode none."""
    _question: Question | None = None

    @classmethod
    def open(cls, device: Device, recipe: Recipe, header: Mapping[str, Any]) -> LiveRound:
        """Judge the recipe. Raises :class:`DeclinedError` with the policy's field and both values."""
        policy = load_policy(device.home / "policy.toml")
        if reason := policy.refusal(recipe):
            raise DeclinedError(reason)
        claim, population = None, _population_of(header)
        if recipe.privacy.mode == "central":
            claim = claim_of(recipe, population)
            reason = policy.refusal_of_noise(claim.noise_multiplier) or policy.refusal_of_cohort(
                recipe, population
            )
            if reason:
                raise DeclinedError(reason)
        return cls(device, recipe, header, policy, claim)

    @property
    def on_owners_terms(self) -> Recipe:
        """The recipe as it is trained here: where work runs, and on how many threads, is the owner's to say."""
        asked, most = self.recipe.engine.threads, self.policy.cpu_threads
        engine = self.recipe.engine.model_copy(
            update={
                "threads": asked if most is None else min(asked, most),
                "device": self.policy.device,
                "precision": self.policy.precision,
            }
        )
        return self.recipe.model_copy(update={"engine": engine})

    def admit(self, asked: Partition, own: Partition, weights: wire.Weights) -> RecordDict | None:
        """The reply that was given to this very question, or None to train: its cost is in the ledger then.

        ``asked`` is what the recipe would have sent, ``own`` what the model declares shared. Raises
        :class:`DeclinedError`; :class:`StaleCopyError` if this device's files forgot something;
        :class:`StorageError`.
        """
        if reason := self.policy.refusal_of_shared(asked.shared, own.shared):
            raise DeclinedError(reason)
        question = self._question = Question.of(self.header, self.recipe, weights)
        record = self._answers.of(question.run)
        reason = record.stopped or refusal_of_change(record, self.recipe, _population_of(self.header))
        if reason:
            raise DeclinedError(reason)
        kept = self._outbox.find(question.run, question.round, question.digest)
        if record.has_answered(question):
            # Before the ledger: the same bytes a second time tell nobody anything, and need no space on a full disk.
            return _content_of(_still_kept(kept, question))
        self._refuse_out_of_order(record, question)
        norms = self._inspect(asked, weights, record)
        self._pay(record, question, norms)
        if kept is None:
            return None
        # Trained and kept before a crash, and never sent.
        self._answers.answer(question)
        return _content_of(kept)

    def keep(self, content: RecordDict) -> None:
        """Keep the reply; it may leave when this returns. Raises :class:`StorageError`."""
        assert self._question is not None, "a reply is kept after its question was admitted"
        array = content.array_records["shared"]["shared"]
        header = dict(content.config_records["header"])
        arrays = {"shared": (tuple(array.shape), array.dtype, bytes(array.data))}
        question = self._question
        self._outbox.put(question.run, question.round, question.digest, Letter(header, arrays))
        self._answers.answer(question)

    @property
    def _outbox(self) -> Outbox:
        return Outbox(self.device.home / "outbox", self.policy.outbox_megabytes)

    @property
    def _answers(self) -> Answers:
        return Answers(self.device.home)

    def _refuse_out_of_order(self, record: RunRecord, question: Question) -> None:
        """Decline what no server asks that goes on from where it was."""
        rounds = self.recipe.federation.rounds
        if question.round > rounds:
            raise DeclinedError(f"the recipe has {rounds} rounds and this is round {question.round}")
        last = record.last_answered
        repeated = question.digest in record.admitted or record.answered_these_weights(question)
        if question.round <= last and not repeated:
            raise ServerRolledBackError(
                f"this server was restored from an older copy: it asks for round {question.round} and this device "
                f"answered round {last}; its rounds up to {last} would be released a second time, so it answers again "
                f"from round {last + 1} on"
            )
        if len(record.answered) >= self.policy.maximum_answers_per_run:
            raise DeclinedError(
                f"policy maximum_answers_per_run: the run asks for one more answer, this device allows at most "
                f"{self.policy.maximum_answers_per_run}"
            )

    def _inspect(self, asked: Partition, weights: wire.Weights, record: RunRecord) -> tuple[float, ...]:
        """The weights' norms by tensor. Raises :class:`DeclinedError` if training did not make these weights."""
        if self.policy.weights_reach:
            before = record.before(weights.round)
            since = weights.round - 1
            reference, farther = reference_for(self.recipe, asked)
            reach = Reach(self.policy.weights_reach, farther, self._noise_after(since))
            norms = before[1] if before else None
            if reason := refusal_of_weights(weights.vector, reference, asked, reach, norms):
                raise DeclinedError(reason)
        return norms_of(weights.vector, asked)

    def _noise_after(self, rounds: int) -> float:
        if self.claim is None:
            return 0.0
        on_mean = (
            self.claim.noise_multiplier * self.recipe.privacy.clipping_norm / self.recipe.federation.cohort
        )
        return noise_after(rounds, on_mean, self.recipe.federation.server_lr)

    def _pay(self, record: RunRecord, question: Question, norms: tuple[float, ...]) -> None:
        """Enter the cost and note that the question is admitted, both durably."""
        ledger = Ledger(self.device.ledger_path, self.policy.total_epsilon, self.policy.delta)
        anchor = self._checked_anchor(ledger, record, question)
        self._refuse_impossible_coin(record, question)
        if self.claim is not None:
            self._reserve(ledger, self.claim, question)
        if record.recipe is None:
            self._answers.begin(question.run, self.recipe, _population_of(self.header))
        if question.digest not in record.admitted:
            self._answers.admit(question, norms, paid=self.claim is not None)
        # Also what was spent on the person's own voice since the last time.
        anchor.move(ledger)

    def _checked_anchor(self, ledger: Ledger, record: RunRecord, question: Question) -> LedgerAnchor:
        """The ledger's memory outside. Raises :class:`StaleCopyError` if any memory contradicts another."""
        anchor = anchor_of(self.device.home, ledger)
        check_beginning(ledger, anchor)
        anchor.check(ledger)
        check_against_witnesses(ledger, self._answers, self._outbox)
        if self.claim is not None:
            check_personal_files(ledger, self.device, question.run)
        self._refuse_if_older(ledger, record, question.run)
        return anchor

    def _refuse_impossible_coin(self, record: RunRecord, question: Question) -> None:
        if self.claim is None:
            return
        found = suspicion([*record.rounds, question.round], self.claim.sampling_probability)
        if found is None:
            return
        reason = (
            f"this device was asked in {found.calls} of {found.rounds} rounds where the recipe and the population "
            f"claim a rate of {self.claim.sampling_probability:.3g}, which happens by a chance of {found.chance:.1g}: "
            "it answers nothing more of this run"
        )
        self._answers.stop(question.run, reason)
        raise DeclinedError(reason)

    def _reserve(self, ledger: Ledger, claim: Claim, question: Question) -> None:
        try:
            reserve_round(
                ledger, self.policy, claim,
                run=question.run, round_number=question.round, question=question.digest,
            )  # fmt: skip
        except BudgetError:
            # Without what was spent so far, which is nobody's business but the owner's.
            raise DeclinedError(
                f"policy total_epsilon: this run would bring the device beyond its {self.policy.total_epsilon:g} at "
                f"delta {self.policy.delta:g}"
            ) from None

    def _refuse_if_older(self, ledger: Ledger, record: RunRecord, run: str) -> None:
        known = record.last_answered
        if not record.admitted:  # a home of an earlier version, which kept no answers
            known = max(rounds_known(ledger, run), self.device.last_round(run))
        seen = self.header.get("seen", -1)
        if isinstance(seen, int) and seen > known:
            raise StaleCopyError(
                f"the server counted an update of this device in round {seen} and the files in "
                f"{self.device.home} know of round {max(known, 0)} at most: they are an older copy, so put the newest "
                "back; nothing is sent with files that forgot what was spent"
            )


def anchor_of(home: Path, ledger: Ledger) -> LedgerAnchor:
    """The memory of a home's ledger, known by the home's identity: a name of its own, which a backup brings along.

    Both are made once, the memory first: a home with an identity had a memory, on some computer.
    """
    path = home / "identity"
    if not path.exists():
        name = secrets.token_hex(16)
        LedgerAnchor(name).move(ledger)
        write_atomically(path, name)
    return LedgerAnchor(path.read_text())


def _population_of(header: Mapping[str, Any]) -> int | None:
    population = header.get("population")
    return population if isinstance(population, int) and population > 0 else None


def _still_kept(kept: Letter | None, question: Question) -> Letter:
    if kept is None:
        raise DeclinedError(
            f"round {question.round} was answered and its answer is no longer kept here: it is not trained a "
            "second time"
        )
    return kept


def _content_of(letter: Letter) -> RecordDict:
    shape, dtype, data = letter.arrays["shared"]
    shared = ArrayRecord({"shared": Array(dtype, shape, wire.STYPE, data)})
    return RecordDict({"header": ConfigRecord(letter.header), "shared": shared})
