"""A device as a lying server meets it: the installed app on a home of its own, that goes when the attack is over."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from torch import Tensor

from client import app as device_app
from client.home.device import Device
from client.home.ledger import Ledger
from client.home.policy import Policy, as_toml
from client.home.spending import spent_without_sampling
from client.rounds.answers import Answers
from shared_models import wire
from shared_models.acoustic import build_model
from shared_models.config import Recipe
from shared_models.errors import FedVoiceError
from shared_models.partition import PartitionedModel
from shared_models.refusals import Refused
from shared_models.utterance import Utterance
from simulations.engine.task_identity import FIRST_CLIENT_NODE_ID, SERVER_NODE_ID, identify

_UNLIMITED = 1e12
LIFTED = Policy(
    modes=("central", "none"),
    minimum_noise_multiplier=1e-9,
    maximum_clipping_norm=_UNLIMITED,
    total_epsilon=_UNLIMITED,
    epsilon_per_run=_UNLIMITED,
    total_epsilon_without_sampling=_UNLIMITED,
    minimum_cohort=1,
    maximum_answers_per_run=10**9,
    minimum_batch=1,
    maximum_learning_rate=1e30,
    maximum_step_norm=1e30,
    weights_reach=0.0,
)
"""An owner who allows everything: what protects then is the code alone."""


@dataclass(frozen=True, slots=True)
class LiedTo:
    """One device. Each question goes through the app as a live one does."""

    home: Path
    policy: Policy

    def ask(
        self, recipe: Recipe, weights: Tensor, round_number: int, run: str, **fields: Any
    ) -> Tensor | str:
        """The clipped update ``(D,)`` that the server gets, or the reason that it is told."""
        message = Message(
            _question(recipe, weights, round_number, run, fields),
            dst_node_id=FIRST_CLIENT_NODE_ID, message_type="train", group_id=str(round_number),
        )  # fmt: skip
        context = Context(
            1, FIRST_CLIENT_NODE_ID, {"partition-id": 0, "device": str(self.home)}, RecordDict(), {}
        )
        try:
            reply = device_app.app(message, context)
        except FedVoiceError as error:
            return Refused.parse(str(error)).said
        return torch.frombuffer(
            bytearray(reply.content.array_records["shared"]["shared"].data), dtype=torch.float32
        )

    @property
    def epsilon(self) -> float:
        """What the device's ledger says that all of it cost."""
        return self._ledger.spent("person")

    @property
    def epsilon_without_sampling(self) -> float:
        """The same if no coin is believed."""
        return spent_without_sampling(self._ledger)

    @property
    def answers(self) -> int:
        """Different questions that were answered."""
        return sum(len(record.answered) for record in Answers(self.home).all().values())

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.home / "ledger.sqlite", self.policy.total_epsilon, self.policy.delta)


@contextmanager
def lied_to(recordings: Sequence[Utterance], cache: Path, policy: Policy) -> Iterator[LiedTo]:
    """A device with these recordings and this policy, and a memory outside of its home that goes with it."""
    identify(1, SERVER_NODE_ID)
    before = os.environ.get("XDG_STATE_HOME")
    with tempfile.TemporaryDirectory(prefix="fedvoice-attack-") as folder:
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"
        home = Path(folder) / "home"
        Device.create(home, "owner", recordings, cache)
        (home / "policy.toml").write_text(as_toml(policy))
        try:
            yield LiedTo(home, policy)
        finally:
            if before is None:
                del os.environ["XDG_STATE_HOME"]
            else:
                os.environ["XDG_STATE_HOME"] = before


def fresh_weights(recipe: Recipe) -> Tensor:
    """The shared set ``(D,)`` of a new model of the recipe."""
    return PartitionedModel(build_model(recipe)).shared_vector()


def _question(
    recipe: Recipe, weights: Tensor, round_number: int, run: str, fields: dict[str, Any]
) -> RecordDict:
    schema = PartitionedModel(build_model(recipe)).partition.schema
    header, buffer = wire.encode_weights(wire.Weights(schema, round_number, weights))
    record: dict[str, Any] = {
        **header, "recipe": recipe.model_dump_json(), "run": run, "attempt": 1, "seen": -1, **fields,
    }  # fmt: skip
    array = Array(wire.DTYPE, tuple(weights.shape), wire.STYPE, bytes(buffer))
    return RecordDict({"header": ConfigRecord(record), "shared": ArrayRecord({"shared": array})})
