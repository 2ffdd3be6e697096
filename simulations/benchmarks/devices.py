"""What an accelerator brings: a step, a private step, a clone, a sentence and a round on each device, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from client.cloning import adapt, voice_of_nobody
from client.home.ledger import Ledger
from client.learning.material import draw_batch, on_device
from client.learning.phases import training_loss
from client.learning.private_adaptation import private_steps
from client.speaker import Speaker
from client.task import Task
from shared_models.accelerator import Accelerator, on_host
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.cloning import CLONING
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.config import Recipe
from shared_models.features import Features
from shared_models.federated_model import federated_voice_model
from shared_models.optimization import adam, descend
from shared_models.recipes import find_recipe
from shared_models.vocoders import build_vocoder
from simulations.benchmarks.idle_federation import Measured
from simulations.benchmarks.training_federation import make_training_server
from simulations.engine import run_federation

LEAST_SECONDS = 2.0
"""How long each kind of work is repeated; the median counts."""
CLIENTS = 4
ROUNDS = 3
PHONEMES = 60
FRAMES = 6
"""Of each phoneme of the utterances, which are noise: 4.2 s each."""


@dataclass(frozen=True, slots=True)
class DeviceWork:
    """Median seconds of each kind of work on one device."""

    size: str
    device: str
    precision: str
    step: float
    """Of training on a batch of the recipe ``default``."""
    private_step: float
    """Of DP-SGD, in which every utterance has a pass of its own."""
    clone: float
    """Of all the recipe's steps on five utterances."""
    speak: float
    """Of each second of speech."""
    rounds: dict[int, float]
    """Of a round of four clients, by the number of workers that train at once."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure_devices(
    devices: Sequence[str], sizes: Sequence[str], workers: Sequence[int], tell: Callable[[str], None]
) -> Iterator[DeviceWork]:
    """Each size on each device and in each precision. Raises :class:`AcceleratorError` for what is not there."""
    found = [Accelerator.resolve(device) for device in devices]
    for size in sizes:
        for accelerator in found:
            for precision in ("float32", "bfloat16"):
                tell(f"{size}, {accelerator.device}, {precision}")
                changes = {
                    "model.size": size, "engine.device": str(accelerator.device), "engine.precision": precision
                }  # fmt: skip
                yield _measure(find_recipe("default").override(changes), workers)


def _measure(recipe: Recipe, workers: Sequence[int]) -> DeviceWork:
    accelerator = Accelerator.resolve(recipe.engine.device, recipe.engine.precision)
    model = federated_voice_model(recipe, accelerator.device)
    utterances = on_device(_noise(12), accelerator.device)
    return DeviceWork(
        recipe.model.size,
        accelerator.name,
        recipe.engine.precision,
        step=_median(_training_step(model, utterances, recipe)),
        private_step=_median(_private_step(model, utterances, recipe)),
        clone=_median(lambda: adapt(model, _noise(5), recipe)),
        speak=_median(_sentence(model)) / (PHONEMES * FRAMES * HOP / SAMPLE_RATE),
        rounds={count: _round(recipe, count) for count in workers},
    )


def _median(work: Callable[[], object]) -> float:
    work()  # kernels are chosen, and memory is taken, in the first
    seconds: list[float] = []
    while sum(seconds) < LEAST_SECONDS:
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def _noise(count: int) -> list[Features]:
    rng = torch.Generator().manual_seed(0)
    durations = torch.full((PHONEMES,), FRAMES)

    def utterance(number: int) -> Features:
        noise = torch.randn(PHONEMES * FRAMES, 82, generator=rng)
        phonemes = torch.randint(3, 40, (PHONEMES,), generator=rng)
        return Features(
            f"noise {number}", phonemes, noise[:, :80] - 5, 0.2 * noise[:, 80] + 5, noise[:, 80] > 0,
            noise[:, 81] + 2, durations,
        )  # fmt: skip

    return [utterance(number) for number in range(count)]


def _training_step(
    model: VoicePartition, utterances: Sequence[Features], recipe: Recipe
) -> Callable[[], object]:
    parameters = list(model.model.parameters())
    optimizer, rng = adam(parameters, 1e-4), torch.Generator().manual_seed(1)

    def step() -> object:
        model.model.train()
        loss = training_loss(model.model, draw_batch(utterances, recipe, rng), recipe, rng)
        return on_host(descend(loss, parameters, optimizer, 1.0))

    return step


def _private_step(
    model: VoicePartition, utterances: Sequence[Features], recipe: Recipe
) -> Callable[[], object]:
    private = recipe.override(
        {"personal_privacy.enabled": True, "personal_privacy.noise_multiplier": 1.0, "cloning.steps": 1}
    )

    def step() -> object:
        rng = torch.Generator().manual_seed(2)
        with TemporaryDirectory() as folder:
            return private_steps(
                CLONING, model, utterances, Task(private, "benchmark", 0, 0, simulated=True),
                book=Ledger(Path(folder) / "ledger", None, 1e-3), purpose="benchmark", generator=rng,
            )  # fmt: skip

    return step


def _sentence(model: VoicePartition) -> Callable[[], object]:
    """Speaks as long as an utterance of :func:`_noise` lasts, whatever durations random weights predict."""
    speaker = Speaker(model.model, voice_of_nobody(model), build_vocoder("packaged", model.device))
    phonemes = torch.arange(PHONEMES) % 40 + 3
    frames = len(speaker.unmarked(phonemes).mel)
    return lambda: speaker.unmarked(phonemes, speed=frames / (PHONEMES * FRAMES))


def _round(recipe: Recipe, workers: int) -> float:
    changes = {
        "model.size": recipe.model.size, "engine.device": recipe.engine.device, "engine.workers": workers,
        "engine.precision": recipe.engine.precision,
    }  # fmt: skip
    measured = Measured()
    with TemporaryDirectory() as folder:
        server, environment = make_training_server(
            "default", CLIENTS, ROUNDS, Path(folder), measured, changes
        )
        engine = find_recipe("default").override(changes).engine
        run_federation(server, engine=engine, clients=CLIENTS, environment=environment)
    return median(measured.seconds[1:])
