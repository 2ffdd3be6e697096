"""Whether a device takes part in a round of a live federation, and what it keeps of having done so.

In this order, and before anything is trained: the owner's policy on the recipe; the policy on what would be
sent; whether the same question was answered before; whether this device's files are the newest; the ledger.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from client.device import Device
from client.ledger import Ledger
from client.ledger_anchor import LedgerAnchor
from client.outbox import Letter, Outbox
from client.policy import Policy, load_policy
from client.spending import Claim, claim_of, reserve_round, rounds_known
from shared_models import wire
from shared_models.config import Recipe
from shared_models.errors import BudgetError, DeclinedError, StaleCopyError
from shared_models.files import write_atomically
from shared_models.partition import Partition, weights_hash


@dataclass(slots=True)
class LiveRound:
    """One round on one device's own terms."""

    device: Device
    recipe: Recipe
    policy: Policy
    run: str
    seen: int
    """The last round in which the server counted an update of this device; -1 if none."""
    claim: Claim | None
    """What the recipe says about the noise; None in mode none."""
    _round: int = -1
    _weights: str = ""

    @classmethod
    def open(cls, device: Device, recipe: Recipe, header: Mapping[str, Any]) -> LiveRound:
        """Judge the recipe. Raises :class:`DeclinedError` with the policy's field and both values."""
        policy = load_policy(device.home / "policy.toml")
        if reason := policy.refusal(recipe):
            raise DeclinedError(reason)
        claim = None
        if recipe.privacy.mode == "central":
            population = header.get("population")
            claim = claim_of(recipe, population if isinstance(population, int) and population > 0 else None)
            if reason := policy.refusal_of_noise(claim.noise_multiplier):
                raise DeclinedError(reason)
        seen = header.get("seen", -1)
        return cls(device, recipe, policy, str(header["run"]), seen if isinstance(seen, int) else -1, claim)

    @property
    def threads(self) -> int:
        """CPU threads to train with."""
        asked = self.recipe.engine.threads
        return asked if self.policy.cpu_threads is None else min(asked, self.policy.cpu_threads)

    def admit(self, asked: Partition, own: Partition, weights: wire.Weights) -> RecordDict | None:
        """The reply that was given to this very question, or None to train: its cost is in the ledger then.

        ``asked`` is what the recipe would have sent, ``own`` what the model declares shared. Raises
        :class:`DeclinedError`; :class:`StaleCopyError` if this device's files forgot something;
        :class:`StorageError`.
        """
        if reason := self.policy.refusal_of_shared(asked.shared, own.shared):
            raise DeclinedError(reason)
        self._round, self._weights = weights.round, weights_hash(weights.vector)
        # Before the ledger: the same bytes a second time tell nobody anything, and need no space on a full disk.
        kept = self._outbox.find(self.run, self._round, self._weights)
        if kept is not None:
            return _content_of(kept)
        ledger = Ledger(self.device.ledger_path, self.policy.total_epsilon, self.policy.delta)
        anchor = LedgerAnchor(identity_of(self.device.home))
        anchor.check(ledger)
        self._refuse_if_older(ledger)
        if self.claim is not None:
            self._reserve(ledger, self.claim)
        # Also what was spent on the person's own voice since the last time.
        anchor.move(ledger)
        return None

    def keep(self, content: RecordDict) -> None:
        """Keep the reply; it may leave when this returns. Raises :class:`StorageError`."""
        array = content.array_records["shared"]["shared"]
        header = dict(content.config_records["header"])
        arrays = {"shared": (tuple(array.shape), array.dtype, bytes(array.data))}
        self._outbox.put(self.run, self._round, self._weights, Letter(header, arrays))

    @property
    def _outbox(self) -> Outbox:
        return Outbox(self.device.home / "outbox")

    def _reserve(self, ledger: Ledger, claim: Claim) -> None:
        try:
            reserve_round(
                ledger, self.policy, claim, run=self.run, round_number=self._round, weights=self._weights
            )
        except BudgetError:
            # Without what was spent so far, which is nobody's business but the owner's.
            raise DeclinedError(
                f"policy total_epsilon: this run would bring the device beyond its {self.policy.total_epsilon:g} at "
                f"delta {self.policy.delta:g}"
            ) from None

    def _refuse_if_older(self, ledger: Ledger) -> None:
        known = max(rounds_known(ledger, self.run), self.device.last_round(self.run))
        if self.seen > known:
            raise StaleCopyError(
                f"the server counted an update of this device in round {self.seen} and the files in "
                f"{self.device.home} know of round {max(known, 0)} at most: they are an older copy, so put the newest "
                "back; nothing is sent with files that forgot what was spent"
            )


def identity_of(home: Path) -> str:
    """By what a home is known to its anchor: a name of its own, made once, which a backup brings along."""
    path = home / "identity"
    if not path.exists():
        write_atomically(path, secrets.token_hex(16))
    return path.read_text()


def _content_of(letter: Letter) -> RecordDict:
    shape, dtype, data = letter.arrays["shared"]
    shared = ArrayRecord({"shared": Array(dtype, shape, wire.STYPE, data)})
    return RecordDict({"header": ConfigRecord(letter.header), "shared": shared})
