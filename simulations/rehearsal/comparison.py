"""The same federation in simulation, and whether it ends with the same numbers as the live one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from client.app import DEVICES_VARIABLE
from client.home.device import Device
from server.app import make_app, plan_for
from server.checkpoints import load_checkpoint
from server.rounds import RoundReport
from shared_models.config import Recipe
from shared_models.errors import CheckpointError
from shared_models.partition import Partition
from simulations.engine import run_federation
from simulations.preparation import Prepared, make_devices

_RUN = "simulation"


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the simulation left."""

    checkpoints: Path
    devices: Path
    partition: Partition
    round_seconds: list[float]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two runs' weights are apart."""

    shared: float
    """Largest absolute difference of the final shared weights."""
    personal: float
    """The same over all devices' personal parameters."""
    tensors: list[str]
    """Shared tensors that differ."""

    @property
    def equal(self) -> bool:
        """Whether no number differs."""
        return self.shared == 0.0 and self.personal == 0.0


def simulate_the_same(
    folder: Path,
    recipe: Recipe,
    prepared: Prepared,
    on_round: Callable[[RoundReport], None] | None = None,
) -> Simulated:
    """Run ``recipe`` on the simulation's engine, with the same speakers in the same order."""
    plan = plan_for(recipe, folder / "checkpoints", _RUN, len(prepared.train), seeded_noise=True)
    devices = make_devices(folder.resolve() / "devices", prepared.train, prepared.cache)
    seconds: list[float] = []

    def heard(report: RoundReport, _: Tensor) -> None:
        seconds.append(report.seconds)
        if on_round is not None:
            on_round(report)

    run_federation(
        make_app(plan, heard),
        engine=recipe.engine,
        clients=plan.clients,
        environment={DEVICES_VARIABLE: str(devices)},
    )
    return Simulated(plan.folder, devices, plan.partition, seconds)


def compare(
    live_checkpoints: Path, live_devices: list[Path], live_run: str, simulated: Simulated, rounds: int
) -> Difference:
    """The final round of both, number by number. Raises :class:`CheckpointError` where either has none."""
    name = f"round-{rounds:05d}.safetensors"
    live, ours = (_weights(path / name) for path in (live_checkpoints, simulated.checkpoints))
    apart = (live - ours).abs()
    tensors = [t.name for t in simulated.partition.shared if bool((apart[t.start : t.stop] > 0).any())]
    homes = sorted(path.parent for path in simulated.devices.glob("*/recordings.json"))
    personal = [
        _personal_difference(Device.open(one), live_run, Device.open(other), rounds)
        for one, other in zip(live_devices, homes, strict=True)
    ]
    return Difference(float(apart.max()), max(personal, default=0.0), tensors)


def _weights(path: Path) -> Tensor:
    if not path.exists():
        raise CheckpointError(f"{path} is missing: the federation did not come to its last round")
    return load_checkpoint(path).weights.double()


def _personal_difference(live: Device, live_run: str, ours: Device, rounds: int) -> float:
    one = live.load_personal(live_run, rounds + 1) or {}
    other = ours.load_personal(_RUN, rounds + 1) or {}
    if set(one) != set(other):
        return float("inf")
    return max((float((one[n] - other[n]).abs().max()) for n in one if torch.numel(one[n])), default=0.0)
