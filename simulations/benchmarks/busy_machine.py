"""What threads that wait for each other cost: with the machine to themselves, and beside another busy program.

GNU OpenMP's own way to wait (:mod:`simulations.waiting_threads`) against ours, alternately, and each time in a
process of its own, since the number of turns is read once when torch is loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from simulations.waiting_threads import OWN_SPINS, SPINS

TEXT = "The quick brown fox jumps over the lazy dog, and nobody who saw it could say where it had gone."
Tell = Callable[[str], None]

# Ends with the one who started it, even if that one is killed.
_BUSY = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(1_000_000):
        pass
"""


@dataclass(frozen=True, slots=True)
class Work:
    """What one process found."""

    step_seconds: float
    """A training step of the recipe ``default`` on six utterances of some four seconds; median."""
    sentence_seconds: float
    """Speaking :data:`TEXT`, loaded and warm; median."""


WORKS: dict[str, Callable[[Work], float]] = {
    "training step": lambda work: work.step_seconds,
    "spoken sentence": lambda work: work.sentence_seconds,
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Both numbers of turns, beside as many busy programs."""

    busy: int
    own: list[Work]
    ours: list[Work]

    def ratio(self, of: Callable[[Work], float]) -> float:
        """Time with GNU OpenMP's own number over time with ours, medians of the repeats."""
        return median(map(of, self.own)) / median(map(of, self.ours))


def measure(busy: list[int], repeats: int, tell: Tell | None = None) -> list[Waiting]:
    """Time training and speaking with both numbers of turns, beside each of the numbers of ``busy`` programs."""
    tell = tell or (lambda _: None)
    found = []
    for count in busy:
        sides: dict[int, list[Work]] = {OWN_SPINS: [], SPINS: []}
        with _busy_programs(count):
            for repeat in range(1, repeats + 1):
                for spins, works in sides.items():
                    tell(f"beside {count} busy program(s), {spins:,} turns, {repeat} of {repeats}")
                    works.append(_work_elsewhere(spins))
        found.append(Waiting(count, sides[OWN_SPINS], sides[SPINS]))
    return found


def as_json(found: list[Waiting]) -> dict[str, Any]:
    """Figures by the number of busy programs."""
    return {
        "own_spins": OWN_SPINS,
        "spins": SPINS,
        "beside": [
            {
                **asdict(waiting),
                "ratios": {name: waiting.ratio(of) for name, of in WORKS.items()},
            }
            for waiting in found
        ],
    }


def work(least_seconds: float = 5.0) -> Work:
    """Train and speak for ``least_seconds`` each, here and on all of torch's threads."""
    return Work(_typical(_training_step(), least_seconds), _typical(_sentence_speaker(), least_seconds))


def _work_elsewhere(spins: int) -> Work:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        env=environment | {"GOMP_SPINCOUNT": str(spins)}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return Work(**json.loads(done.stdout))


@contextlib.contextmanager
def _busy_programs(count: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", _BUSY, str(os.getpid())]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _typical(once: Callable[[], object], least_seconds: float) -> float:
    once()
    seconds: list[float] = []
    while sum(seconds) < least_seconds:
        begun = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def _training_step() -> Callable[[], object]:
    import torch

    from shared_models.acoustic import build_model
    from shared_models.features import Features, collate
    from shared_models.losses import acoustic_loss
    from shared_models.optimization import adam, descend
    from shared_models.recipes import find_recipe

    model = build_model(find_recipe("default", []))
    parameters = list(model.parameters())
    optimizer = adam(parameters, 1e-4)
    rng = torch.Generator().manual_seed(0)

    def utterance(phonemes: int) -> Features:
        durations = torch.full((phonemes,), 6)
        frames = int(durations.sum())
        noise = torch.randn(frames, 82, generator=rng)
        return Features(
            f"noise {phonemes}", torch.randint(3, 40, (phonemes,), generator=rng), noise[:, :80] - 5,
            0.2 * noise[:, 80] + 5, noise[:, 80] > 0, noise[:, 81] + 2, durations,
        )  # fmt: skip

    items = [utterance(phonemes) for phonemes in range(50, 62, 2)]
    batch = collate(items, [item.reference for item in items])
    return lambda: descend(acoustic_loss(model(batch), batch).total, parameters, optimizer, 1.0)


def _sentence_speaker() -> Callable[[], object]:
    from client.speaker import Speaker

    speaker = Speaker.packaged()
    return lambda: speaker.say(TEXT)


if __name__ == "__main__":
    print(json.dumps(asdict(work())))
