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


def compare(
    engines: Sequence[EngineKind],
    clients: int,
    parameters: int,
    rounds: int,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Run a federation without training on each engine. Raises :class:`FedVoiceError` if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        measurements, weights = [], []
        for engine in engines:
            if progress is not None:
                progress(f"{engine}, {clients} clients")
            output = Path(folder) / engine
            measurements.append(_measure(engine, clients, parameters, rounds, output))
            weights.append(load_file(output / "weights.safetensors")["weights"])
    difference = speedup = None
    if len(weights) == 2:
        difference = float((weights[0] - weights[1]).abs().max())
        by_engine = {m.engine: m.seconds for m in measurements}
        speedup = by_engine["ray"] / by_engine["process"]
    return Comparison(clients, measurements, difference, speedup)


def _measure(engine: EngineKind, clients: int, parameters: int, rounds: int, output: Path) -> Measurement:
    output.mkdir()
    command = [
        sys.executable,
        "-m",
        __name__,
        engine,
        str(clients),
        str(parameters),
        str(rounds),
        str(output),
    ]
    with (output / "log").open("wb") as log:
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
        raise FedVoiceError(f"the engine '{engine}' failed with {clients} clients: {''.join(last)}")
    seconds = json.loads((output / "seconds.json").read_text())
    return Measurement(
        engine=engine,
        clients=clients,
        parameters=parameters,
        first_round_seconds=seconds[0],
        round_seconds=seconds[1:],
        seconds=min(seconds[1:] or seconds),
        peak_memory_bytes=memory.peak,
    )


def _run_one(engine: EngineKind, clients: int, parameters: int, rounds: int, output: Path) -> None:
    """Run in the measured process."""
    from simulations.benchmarks.idle_federation import CLIENT_APP, Measured, make_server
    from simulations.engine import run_federation

    torch.set_num_threads(1)
    measured = Measured()
    server = make_server(clients, parameters, rounds, measured)
    run_federation(server, CLIENT_APP, engine=EngineConfig(kind=engine), clients=clients)
    save_file({"weights": measured.weights}, output / "weights.safetensors")
    (output / "seconds.json").write_text(json.dumps(measured.seconds))


def as_json(comparison: Comparison) -> dict[str, object]:
    """The comparison as plain data."""
    return asdict(comparison) | {"equal": comparison.equal}


if __name__ == "__main__":
    kind, client_count, size, round_count, folder = sys.argv[1:]
    _run_one(
        "ray" if kind == "ray" else "process", int(client_count), int(size), int(round_count), Path(folder)
    )
