"""kill -9 at random instants of one run: it ends with the weights of a run that nobody disturbed.

At five of them: before the first round, in each arm, and after the last. ``FEDVOICE_KILLS=11`` takes three in an arm.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tiny_federation import features_of_tests, small_corpus, tiny_overrides, tiny_recipe

from server.checkpoints import latest_checkpoint
from shared_models.config import Recipe
from simulations.run_folder import RunFolder
from simulations.simulate import simulate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLS = int(os.environ.get("FEDVOICE_KILLS", "5"))
ROUNDS = 6
ARMS: dict[str, dict[str, Any]] = {
    "centralised": {"federation.algorithm": "centralised"},
    "federated": {"federation.server_optimizer": "fedadam"},
    "federated_dp": {
        "privacy.mode": "central",
        "privacy.noise_multiplier": 1.0,
        "federation.sampling": "poisson",
    },
}


class Silent:
    def stage(self, _: str) -> Any:
        return lambda *_: None

    def arm(self, _: str, __: int) -> Any:
        return lambda _: None


def recipe_of(corpus: Path) -> Recipe:
    return tiny_recipe(
        corpus__path=str(corpus), federation__rounds=ROUNDS, federation__cohort=2, client__outer_steps=1,
        evaluation__speakers=1, engine__workers=1, evaluation__every=4, arms=ARMS,
    )  # fmt: skip


def rounds_done(run: RunFolder) -> int:
    done = 0
    for name in ARMS:
        path = run.arm(name).metrics_path
        done += path.read_bytes().count(b"\n") if path.exists() else 0
    return done


def start(run: RunFolder) -> subprocess.Popen[bytes]:
    environment = os.environ | {"FEDVOICE_CACHE": str(features_of_tests()), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "simulations.cli", "simulate", "--json", "--resume", str(run.path)],
        env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def processes_at(run: RunFolder) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if str(run.path) in " ".join(p.info["cmdline"] or [])]


def shared_memory() -> set[Path]:
    """Named shared memory, less Python's 32-byte semaphores: its tracker, which removes them, is killed here too."""
    folder = Path("/dev/shm")
    return {p for p in folder.iterdir() if not p.name.startswith("sem.mp-")} if folder.is_dir() else set()


def test_kills_change_no_weight(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path / "corpus", train=3, test=1, utterances=6)
    recipe = recipe_of(corpus)
    memory = shared_memory()
    run = RunFolder.create(tmp_path / "killed", recipe)
    rng = random.Random(20)
    # Spread over the run: after so many rounds of all arms, and then at some instant of what follows.
    total, each = ROUNDS * len(ARMS), (KILLS - 2) // len(ARMS)
    targets = sorted(arm * ROUNDS + n for arm in range(len(ARMS)) for n in rng.sample(range(ROUNDS), each))
    for target in [0, *targets, total]:
        process = start(run)
        deadline = time.monotonic() + 120
        while rounds_done(run) < target and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 4.0 if target in (0, total) else 0.4))
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        kill(process)
    process = start(run)
    assert process.wait(300) == 0, process.stderr.read().decode() if process.stderr else ""

    whole = RunFolder.create(tmp_path / "whole", recipe)
    simulate(whole, recipe, Silent(), cache=features_of_tests())
    for name in ARMS:
        resumed, undisturbed = (latest_checkpoint(r.arm(name).checkpoints) for r in (run, whole))
        assert resumed is not None
        assert undisturbed is not None
        assert torch.equal(resumed.weights, undisturbed.weights), name
        assert resumed.accountant == undisturbed.accountant
        metrics, others = run.arm(name).metrics(), whole.arm(name).metrics()
        assert [m["round"] for m in metrics] == list(range(1, ROUNDS + 1))
        for ours, theirs in zip(metrics, others, strict=True):
            for figure in ("epsilon", "update_norm", "validation_loss", "train_loss", "clients"):
                assert ours[figure] == theirs[figure], (name, ours["round"], figure)
    ended, expected = run.results(), whole.results()
    assert ended["arms"]["federated_dp"]["epsilon"] == expected["arms"]["federated_dp"]["epsilon"]
    assert ended["arms"]["federated"]["metrics"] == expected["arms"]["federated"]["metrics"]
    assert not list(run.path.rglob("*.sqlite-journal"))
    assert processes_at(run) == []
    assert shared_memory() <= memory


def test_overrides_of_the_tests_are_the_recipe_of_the_tests() -> None:
    from shared_models.recipes import find_recipe

    overrides = [argument for argument in tiny_overrides() if argument != "--set"]
    assert find_recipe("default", overrides).model == tiny_recipe().model
