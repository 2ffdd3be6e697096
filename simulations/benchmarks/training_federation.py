"""A federation that trains: a recipe's own clients and server, all of them in every round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flwr.serverapp import ServerApp
from torch import Tensor

from client.app import DEVICES_VARIABLE
from server.app import make_app, plan_for
from server.rounds import RoundReport
from shared_models.config import Recipe
from shared_models.errors import FedVoiceError
from shared_models.recipes import find_recipe
from shared_models.utterance import Utterance
from simulations.benchmarks.idle_federation import Measured
from simulations.preparation import make_devices, prepare


def training_recipe(name: str, rounds: int, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe without its arms and without privacy noise, and with dotted ``changes``."""
    own = {"federation.rounds": rounds, "federation.sampling": "fixed", "privacy.mode": "none"}
    recipe = find_recipe(name).override({**own, **(changes or {})})
    return recipe.model_copy(update={"arms": {}})


def make_training_server(
    name: str,
    clients: int,
    rounds: int,
    folder: Path,
    measured: Measured,
    changes: Mapping[str, Any] | None = None,
) -> tuple[ServerApp, dict[str, str]]:
    """A server, and the environment that tells clients where under ``folder`` their devices are."""
    data = prepare(training_recipe(name, rounds, changes))
    recipe = data.recipe.override({"federation.cohort": clients})
    devices = make_devices(folder / "devices", repeated(data.train, clients), data.cache)

    def write_down(report: RoundReport, weights: Tensor) -> None:
        if report.clients != clients:
            raise FedVoiceError(
                f"{report.clients} of {clients} clients of the benchmark answered: {report.dropped}"
            )
        measured.seconds.append(report.seconds)
        measured.weights = weights.clone()

    plan = plan_for(recipe, folder / "checkpoints", "benchmark", clients)
    return make_app(plan, write_down), {DEVICES_VARIABLE: str(devices.resolve())}


def repeated(speakers: Mapping[str, Sequence[Utterance]], clients: int) -> dict[str, Sequence[Utterance]]:
    """Recordings for so many clients: where there are fewer speakers, several clients have the same one's."""
    names = list(speakers)
    return {
        f"{index:05d}-{names[index % len(names)]}": speakers[names[index % len(names)]]
        for index in range(clients)
    }
