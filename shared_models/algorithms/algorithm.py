"""An algorithm of federated learning as data: which parameters move, in which steps, on which utterances.

FedAvg, FedPer, FedRep, full-model sharing, local and pooled training, and meta-learning of first and second order
are one loop with different answers. What the answers are is said here once; a device trains by them, and its
policy, the server and the reports read the rest from them.

Sources: personalisation by a split of the parameters, Arivazhagan 2019 (arXiv 1912.00818) and Collins 2021
(arXiv 2102.07078); first and second order as in MAML, Finn 2017 (arXiv 1703.03400, sections 2.2 and 5.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from shared_models.algorithms.learning_rates import falling_outer_rate, inner_rate
from shared_models.speakers.adaptation import Site

if TYPE_CHECKING:
    from shared_models.config import Recipe

Rate = Callable[["Recipe", int], float]
"""A learning rate by recipe and round (from 1)."""
Optimizer = Literal["adam", "sgd"]


class Moves(Enum):
    """Which parameters a phase moves."""

    PERSONAL = "personal"
    SHARED = "shared"
    BOTH = "both"

    @property
    def personal(self) -> bool:
        """Whether the personal set moves."""
        return self is not Moves.SHARED

    @property
    def shared(self) -> bool:
        """Whether the shared set moves."""
        return self is not Moves.PERSONAL


class Utterances(Enum):
    """Which of a device's utterances a phase learns from."""

    SUPPORT = "support"
    QUERY = "query"
    ALL = "all"


class Sends(Enum):
    """What leaves a device under an algorithm."""

    NOTHING = "nothing"
    SHARED = "the shared set"
    EVERYTHING = "everything"
    """Personal parameters too: the non-private baseline of full-model sharing."""
    RECORDINGS = "recordings"
    """The data itself is pooled: the upper bound."""


def recipes_optimizer(recipe: Recipe) -> Optimizer:
    """The optimizer of the outer loop: ``client.outer_optimizer``."""
    return recipe.client.outer_optimizer


def adam_always(_: Recipe) -> Optimizer:
    """Adam, whatever the recipe says of the outer loop."""
    return "adam"


def sgd_always(_: Recipe) -> Optimizer:
    """Plain SGD, whatever the recipe says of the outer loop."""
    return "sgd"


def never_falls(_: Recipe) -> float:
    """The learning rates stay as they are."""
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Some local steps of one kind. Raises ValueError where what it says contradicts itself."""

    moves: Moves
    material: Utterances
    layers: tuple[Site, ...] | None = None
    """Of the shared set, only the layers at these sites, which are those that voices can change; all of it if None."""
    steps: Callable[[Recipe], int]
    shared_rate: Rate = falling_outer_rate
    personal_rate: Rate = inner_rate
    optimizer: Callable[[Recipe], Optimizer] = recipes_optimizer
    falls_from: Callable[[Recipe], float] = never_falls
    """Share of the steps after which the learning rates fall, linearly towards 0; DP-SGD keeps them."""
    private: bool = False
    """Whether the phase is DP-SGD where the recipe asks for personal privacy."""
    same_batch: bool = False
    """Whether all steps of an inner loop are on one batch, the support of a task; from order 1 on."""

    def __post_init__(self) -> None:
        if self.layers is not None and not self.moves.shared:
            raise ValueError("a phase names layers of the shared set, and this one does not move it")
        if self.private and self.moves is not Moves.PERSONAL:
            raise ValueError("a private phase moves the personal set alone: DP-SGD here covers nothing else")


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One kind of algorithm. Raises ValueError where its phases contradict one another."""

    description: str
    """What moves and what is sent, in a few words for the list of a recipe's fields."""
    outer: Phase
    """Its steps make the update."""
    inner: Phase | None = None
    """The adaptation that comes before the outer steps, or, from order 1 on, before each of them."""
    order: Literal[0, 1, 2] = 0
    """0: the phases follow one another, and what the inner one moved stays moved. 1 and 2: every outer step starts its
    inner phase (plain SGD) anew from the same parameters and is judged on the query where that phase ends; its
    gradient takes the inner gradients as constants (1) or goes through them (2)."""
    newcomers: bool = False
    """Whether the voice of every device begins each round as a newcomer's, as the voices that are cloned will."""
    sends: Sends = Sends.SHARED

    def __post_init__(self) -> None:
        if self.order == 0:
            return
        if self.inner is None:
            raise ValueError(f"an algorithm of order {self.order} has an inner phase to differentiate")
        if self.inner.private or self.outer.private:
            raise ValueError(f"an algorithm of order {self.order} has no private phase: DP-SGD covers none")

    @property
    def phases(self) -> dict[str, Phase]:
        """The phases by name, in their order."""
        return {"outer": self.outer} if self.inner is None else {"inner": self.inner, "outer": self.outer}

    @property
    def adapts_by_sgd(self) -> bool:
        """Whether what adapts goes by plain SGD at the inner rate."""
        return self.order > 0 or self.outer.optimizer is sgd_always

    @property
    def federates(self) -> bool:
        """Whether devices send updates to a server."""
        return self.sends in {Sends.SHARED, Sends.EVERYTHING}

    @property
    def shares_everything(self) -> bool:
        """Whether the whole model is sent, its personal set included."""
        return self.sends is Sends.EVERYTHING

    @property
    def pools_recordings(self) -> bool:
        """Whether the recordings themselves are gathered in one place."""
        return self.sends is Sends.RECORDINGS

    @property
    def sends_personal(self) -> bool:
        """Whether anything leaves that belongs to one speaker alone."""
        return self.shares_everything or self.pools_recordings

    @property
    def trains_voice_without_noise(self) -> bool:
        """Whether personal parameters move in steps that DP-SGD never takes the place of."""
        phases = self.phases.values()
        return self.sends_personal or any(p.moves.personal and not p.private for p in phases)

    def local_steps(self, recipe: Recipe) -> int:
        """Training steps of a device in one round after the aligner's warm-up, inner ones included."""
        outer = self.outer.steps(recipe)
        inner = 0 if self.inner is None else self.inner.steps(recipe)
        return outer + inner * (outer if self.order else 1)
