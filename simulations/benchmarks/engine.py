"""Engine against engine: the same apps and seeds in our worker processes and on Flower's own engine.

Each measurement runs in a process of its own, so that the memory of one is not in the figure of the next.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file

from shared_models.config import EngineConfig
from shared_models.errors import FedVoiceError
from simulations.benchmarks.process_memory import PeakMemory

EngineKind = Literal["process", "ray"]
LARGEST_DIFFERENCE = 1e-6


@dataclass(frozen=True, slots=True)
class Measurement:
    """One engine with one number of clients."""

    engine: EngineKind
    clients: int
    parameters: int
    first_round_seconds: float
    round_seconds: list[float]
    """Of the rounds after the first."""
    seconds: float
    """Of the best round after the first, or of the first if there is no other."""
    peak_memory_bytes: int
    """Of all processes together."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both engines with one number of clients."""

    clients: int
    measurements: list[Measurement]
    largest_difference: float | None
    """Between the final weights of the two; None if only one was run."""
    speedup: float | None
    """Seconds per round of Flower's engine over ours."""

    @property
    def equal(self) -> bool:
        """Whether the engines gave the same weights."""
        return self.largest_difference is None or self.largest_difference <= LARGEST_DIFFERENCE


@dataclass(frozen=True, slots=True)
class _Job:
    """What the measured process is told."""

    engine: EngineKind
    clients: int
    parameters: int | None
    rounds: int
    recipe: str | None
    output: str


def compare(
    engines: Sequence[EngineKind],
    clients: int,
    rounds: int,
    *,
    parameters: int | None = None,
    recipe: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Run one federation on each engine: of ``parameters`` coordinates without training, or of a ``recipe``.

    Raises :class:`FedVoiceError` if one fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        measurements, weights = [], []
        for engine in engines:
            if progress is not None:
                progress(f"{engine}, {clients} clients")
            output = Path(folder) / engine
            output.mkdir()
            measurements.append(_measure(_Job(engine, clients, parameters, rounds, recipe, str(output))))
            weights.append(load_file(output / "weights.safetensors")["weights"])
    difference = speedup = None
    if len(weights) == 2:
        difference = float((weights[0] - weights[1]).abs().max())
        by_engine = {m.engine: m.seconds for m in measurements}
        speedup = by_engine["ray"] / by_engine["process"]
    return Comparison(clients, measurements, difference, speedup)


def _measure(job: _Job) -> Measurement:
    output = Path(job.output)
    with (output / "log").open("wb") as log:
        command = [sys.executable, "-m", __name__, json.dumps(asdict(job))]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with PeakMemory(process.pid) as memory:
                code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code:
        last = (output / "log").read_text(errors="replace").strip().splitlines()[-1:]
        raise FedVoiceError(f"the engine '{job.engine}' failed with {job.clients} clients: {''.join(last)}")
    found = json.loads((output / "found.json").read_text())
    seconds = found["seconds"]
    return Measurement(
        engine=job.engine,
        clients=job.clients,
        parameters=found["parameters"],
        first_round_seconds=seconds[0],
        round_seconds=seconds[1:],
        seconds=min(seconds[1:] or seconds),
        peak_memory_bytes=memory.peak,
    )


def _run(job: _Job) -> None:
    """Run in the measured process."""
    from simulations.benchmarks.idle_federation import CLIENT_APP as IDLE_CLIENT_APP
    from simulations.benchmarks.idle_federation import Measured, make_server
    from simulations.engine import CLIENT_APP, run_federation

    torch.set_num_threads(1)
    output, measured = Path(job.output), Measured()
    environment: dict[str, str] = {}
    if job.recipe is not None:
        from simulations.benchmarks.training_federation import make_training_server

        server, environment = make_training_server(job.recipe, job.clients, job.rounds, output, measured)
        client_app = CLIENT_APP
    else:
        assert job.parameters is not None
        server, client_app = make_server(job.clients, job.parameters, job.rounds, measured), IDLE_CLIENT_APP
    engine = EngineConfig(kind=job.engine)
    run_federation(server, client_app, engine=engine, clients=job.clients, environment=environment)
    save_file({"weights": measured.weights}, output / "weights.safetensors")
    found = {"seconds": measured.seconds, "parameters": measured.weights.numel()}
    (output / "found.json").write_text(json.dumps(found))


def as_json(comparison: Comparison) -> dict[str, object]:
    """The comparison as plain data."""
    return asdict(comparison) | {"equal": comparison.equal}


if __name__ == "__main__":
    _run(_Job(**json.loads(sys.argv[1])))
