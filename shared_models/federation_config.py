"""The recipe's section on the server's side of a round."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from shared_models.algorithms import ALGORITHMS, DEFAULT, described
from shared_models.recipe_section import Section

SCHEDULE = ("rounds", "quorum", "deadline_seconds")
"""The fields that a live server's operator may change while a run goes on: how long, and for whom a round waits."""


class FederationConfig(Section):
    """The server's side of a round."""

    algorithm: str = Field(DEFAULT, description=described())
    rounds: int = Field(20, ge=1)
    cohort: int = Field(8, ge=1, description="Expected number of clients a round.")
    sampling: Literal["poisson", "fixed"] = Field(
        "fixed", description="'poisson': every client by its own coin, as the central accountant assumes."
    )
    server_optimizer: Literal["fedavg", "fedavgm", "fedadam", "fedyogi"] = "fedadam"
    server_lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="FedAvgM's momentum.")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    tau: float = Field(1e-4, gt=0, description="Adaptivity of FedAdam and FedYogi (Reddi 2021).")
    proximal_mu: float = Field(0.0, ge=0, description="FedProx: pull of the round's start on local steps.")
    deadline_seconds: float | None = Field(
        None, gt=0, description="Updates that come later in a round are not counted; an hour if empty."
    )
    quorum: int = Field(
        1,
        ge=0,
        description="Live: a round starts when so many drawn devices can be expected among those online (sampling "
        "rate x online), which is decided before anybody is drawn. Waiting costs no privacy; 0 waits for nobody.",
    )
    minimum_cohort: int = Field(
        4,
        ge=0,
        description="Mode central, outside of simulations: nothing is released from rounds in which fewer devices can "
        "be expected, neither of the whole population nor of those online; 0 for no floor.",
    )
    patience: int = Field(
        3,
        ge=1,
        description="Live: the run stops after so many rounds in a row without an update, or, in mode central, whose "
        "released mean cannot be told from noise.",
    )
    over_sampling: float = Field(
        1.0,
        ge=1,
        description="Ask so many times the cohort and take the first to answer; fixed sampling without privacy.",
    )
    largest_norm: float | None = Field(
        None,
        gt=0,
        description="Without privacy: updates of a larger norm are dropped (with it, clipping_norm is the limit).",
    )
    aggregation: Literal["mean", "median", "trimmed_mean", "multi_krum"] = Field(
        "mean",
        description="What is made of a cohort's updates. All but the mean hold them at once (memory cohort x D x "
        "4 bytes) and cannot be combined with central privacy.",
    )
    hostile: int = Field(
        0, ge=0, description="Hostile clients a cohort that median, trimmed mean and multi-Krum are to bear."
    )
    trim_fraction: float = Field(
        0.2,
        ge=0,
        lt=0.5,
        description="Trimmed mean: share cut off at each end, rounded up, never below hostile.",
    )
    krum_selected: int | None = Field(
        None, ge=1, description="Multi-Krum: updates that are averaged; cohort - hostile - 2 if empty."
    )

    @field_validator("algorithm")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ALGORITHMS:
            raise ValueError(f"there is no such algorithm, choose among {', '.join(map(repr, ALGORITHMS))}")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> FederationConfig:
        # Which answers come first depends on who was drawn to answer, and a coin that can be overruled by
        # speed is no coin of the probability that amplification by sampling is claimed for.
        if self.over_sampling > 1 and self.sampling == "poisson":
            raise ValueError(
                "federation.over_sampling takes the first to answer, which is no Poisson sample: use sampling = "
                "'fixed', or raise federation.cohort by the share of devices that is expected to drop out"
            )
        if self.aggregation != "mean" and self.cohort < self.fewest_updates:
            raise ValueError(
                f"federation.aggregation '{self.aggregation}' bears {self.hostile} hostile clients in a cohort of at "
                f"least {self.fewest_updates}, and federation.cohort is {self.cohort}: raise cohort, or lower hostile"
            )
        return self

    @property
    def fewest_updates(self) -> int:
        """Updates without which the aggregation says nothing: an honest majority; Krum's proof needs 2f + 3."""
        if self.aggregation == "mean":
            return 1
        return 2 * self.hostile + (3 if self.aggregation == "multi_krum" else 1)
