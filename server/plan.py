"""What a federation runs with, and what it tells of each round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from server.release_memory import ReleaseMemory
from server.rosters import Roster
from shared_models.config import UNPROTECTED, Recipe
from shared_models.partition import Partition


@dataclass(frozen=True, slots=True)
class RoundReport:
    """One finished round, for progress bars and the server's own log.

    With central privacy only what :meth:`public` gives may leave the server: who was drawn, who answered, how
    many and how fast are as secret as the noise, because amplification by sampling assumes that nobody can
    tell who took part. What an update held is in here in no case.
    """

    round: int
    rounds: int
    clients: int
    """Updates that were counted."""
    dropped: dict[str, int]
    """Why others were not, as a sentence, and how many."""
    epsilon: float | None
    """What all rounds so far cost together; None without privacy."""
    update_norm: float
    """Norm of the aggregated update, which with privacy is the noised one."""
    seconds: float
    attempt: int = 1
    """How often the round was begun: above 1 after a crash, or where nobody sent a usable update."""
    sampled: int = 0
    """Devices that were drawn, online or not."""
    kinds: dict[str, int] = field(default_factory=dict)
    """The dropped by :class:`server.validation.Drop`, a closed set of names, for counters."""
    dropped_devices: dict[int, str] = field(default_factory=dict, repr=False)
    """Member to reason, of this round's cohort. For the server's own log only."""
    grouped: dict[str, dict[str, int]] = field(default_factory=dict)
    """The dropped by kind, and within it by what was said: as ``dropped``, with a bound on the sentences."""
    late: dict[int, int] = field(default_factory=dict, repr=False)
    """Member to the earlier round that its reply, which came during this one, belonged to."""
    private: bool = False
    signal: float | None = None
    """James-Stein factor of the released mean, in mode central: about 0 where it cannot be told from noise."""
    fruitless: int = 0
    """So many rounds in a row, with this one, brought nothing (:mod:`server.fruitless`)."""

    @property
    def protection(self) -> str:
        """The privacy mode, or ``unprotected``; without one epsilon is not 0 but without bound."""
        return "central" if self.private else UNPROTECTED

    def public(self) -> dict[str, Any]:
        """What anybody may see: with privacy what follows from the released weights and the recipe alone."""
        names = ("round", "rounds", "protection", "epsilon", "update_norm")
        told = {name: getattr(self, name) for name in names}
        if self.private:
            return told | {"signal": self.signal}
        return told | {"clients": self.clients, "dropped": dict(self.kinds)}

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return asdict(self)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> RoundReport:
        """The report of such data, which JSON may have been through; unknown fields are left out."""
        known = {f.name: state[f.name] for f in fields(cls) if f.name in state}
        for name in ("dropped_devices", "late"):
            known[name] = {int(member): value for member, value in known.get(name, {}).items()}
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a live federation does not go on at the moment, for whoever watches the server."""

    round: int
    reason: str
    online: int
    """Devices of the population that are online, if that is what is waited for; else 0."""
    quorum: int
    """How many must be online, so that enough can be expected to be drawn of them; else 0."""
    seconds: float
    """For how long it has waited so far."""
    grouped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Who did not count in the attempt that came to nothing, by kind and by what was said."""


OnRound = Callable[[RoundReport, Tensor], None]
OnWait = Callable[[Waiting], None]


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
    """N, the population: members 0 to N - 1. Fixed for a run, since the sampling rate is cohort / N."""
    seeded_noise: bool = False
    """Draw the noise from the recipe's seed, so that a simulation repeats. Never in a live run: the seed is
    in the recipe that every device gets, and noise that can be computed protects nobody."""
    join_seconds: float = 300.0
    """Simulations: how long all clients may take to join."""
    reply_seconds: float = 3600.0
    """How long a round may take where the recipe has no ``federation.deadline_seconds``."""
    roster: Roster | None = None
    """Who is online, in a live run; None greets all clients once, and waits for every one of them."""
    retry_seconds: float = 1.0
    """Live: the first pause before a round without a usable update is begun again; doubles up to a minute."""
    rest_seconds: float = 30.0
    """Live: the first pause before a device that declined or failed is asked again; see :mod:`server.resting`."""
    storage_seconds: float = 86_400.0
    """Live: how long a round that is done waits for space on the disk before the run ends."""
    forced: bool = False
    """The operator knows that noise dominates, and wants the rounds all the same."""
    memory: ReleaseMemory | None = None
    """What this computer remembers of released rounds, in a live run."""
    charged_until: int = 0
    """Rounds up to this are counted as spent where the memory has them and the checkpoints do not."""

    @property
    def live(self) -> bool:
        """Whether devices may come and go."""
        return self.roster is not None

    @property
    def repeats(self) -> bool:
        """Whether a round that is run again gives the same bits: a simulation, its noise seeded if it has any."""
        return not self.live and (self.seeded_noise or not self.private)

    @property
    def deadline(self) -> float:
        """Seconds of a round after which updates are not counted."""
        return self.recipe.federation.deadline_seconds or self.reply_seconds

    @property
    def private(self) -> bool:
        """Whether what is released carries central noise."""
        return self.recipe.privacy.mode == "central"
