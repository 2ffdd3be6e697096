"""``python -m server.live.federation HOME``: the ServerApp of a live federation, in a process of its own.

It submits a run with a bundle that holds no code, acquires that run's task from the SuperLink, and runs the
rounds from the last checkpoint on. Flower marks a run whose process died as failed for good; here that is only a
number: the next process submits another, and the federation goes on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from server.live.home import ServerHome
from shared_models.errors import (
    BundleError,
    CheckpointError,
    FedVoiceError,
    FruitlessError,
    NotFiniteError,
    PrivacyError,
    RecipeError,
    ServiceError,
    StaleCopyError,
)
from shared_models.private_files import private_from_now_on
from shared_models.supervision import die_with_parent

if TYPE_CHECKING:
    from torch import Tensor

    from server.live import flower_run
    from server.live.journal import Journal
    from server.plan import FederationPlan, RoundReport, Waiting

DONE, HOPELESS, AGAIN = 0, 2, 75
INITIAL = "initial.safetensors"
_HEARTBEAT_SECONDS = 10.0
_ACQUIRE_SECONDS = 30.0
# What no restart mends.
_FINAL = (
    RecipeError, CheckpointError, PrivacyError, BundleError, StaleCopyError, FruitlessError, NotFiniteError,
)  # fmt: skip


class Heartbeat:
    """Tells the SuperLink that the task lives, and keeps what it learns when it does not."""

    def __init__(self, task: flower_run.ServerTask) -> None:
        self._task = task
        self._problem: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what the heartbeat ran into, if anything."""
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """End it."""
        self._over.set()

    def _run(self) -> None:
        from server.live import flower_run

        while not self._over.is_set():
            try:
                self._task.heartbeat()
            except (flower_run.TaskLostError, flower_run.SuperLinkAwayError) as problem:
                self._problem = problem
                return
            except flower_run.HTTP_ERRORS as error:
                # The SuperLink has trouble of its own, such as a full disk, and may recover before 60 s are over.
                _say(f"heartbeat: {error}")
            self._over.wait(_HEARTBEAT_SECONDS)


def main() -> None:
    """Entry point of the process; ends with its supervisor."""
    die_with_parent()
    private_from_now_on()
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    # Flower reads both when it is imported.
    from server.live import flower_run
    from server.live.journal import Journal

    home = ServerHome(Path(sys.argv[1]))
    journal = Journal(home.folder, home.recipe().federation.rounds)
    try:
        run(home, journal)
    except _FINAL as error:
        journal.note(state="stopped", problem=str(error))
        sys.exit(HOPELESS)
    except (FedVoiceError, flower_run.TaskLostError, *flower_run.HTTP_ERRORS) as error:
        _say(f"{type(error).__name__}: {error}")
        journal.note(state="restarting", problem=str(error))
        sys.exit(AGAIN)
    sys.exit(DONE)


def run(home: ServerHome, journal: Journal) -> None:
    """Run the home's federation to its last round, as one run of the SuperLink."""
    from server.live import flower_run

    journal.note(state="starting", problem="", protection=home.recipe().protection)
    plan = live_plan(home)
    task = _acquire(home.link())
    heartbeat = Heartbeat(task)
    try:
        _federate(task, plan, home, journal, heartbeat)
        task.finish()
    except Exception as error:
        if not isinstance(error, flower_run.TaskLostError | flower_run.SuperLinkAwayError):
            _finish_failed(task, str(error))
        raise
    finally:
        heartbeat.stop()
        task.close()
    journal.note(state="done", problem="")


def live_plan(home: ServerHome) -> FederationPlan:
    """The plan of a home: its recipe, population and checkpoints, from its initial weights if it has some."""
    from safetensors.torch import load_file

    from server.app import plan_for
    from server.release_memory import ReleaseMemory

    settings, recipe = home.settings(), home.recipe()
    initial = home.path(INITIAL)
    start = load_file(initial)["weights"] if initial.exists() else None
    plan = plan_for(recipe, home.checkpoints, settings.run, settings.population, initial=start)
    memory = ReleaseMemory(settings.run)
    return replace(plan, forced=settings.forced, memory=memory, charged_until=settings.charged_until)


def _federate(
    task: flower_run.ServerTask,
    plan: FederationPlan,
    home: ServerHome,
    journal: Journal,
    heartbeat: Heartbeat,
) -> None:
    from server.live.grid import LiveGrid
    from server.live.registry import Registry
    from server.rosters import RegisteredRoster
    from server.rounds import federate

    def restarted(_: int) -> None:
        journal.note(resent=journal.standing.resent + 1)

    def on_round(report: RoundReport, _: Tensor) -> None:
        journal.round_done(asdict(report))

    def on_wait(waiting: Waiting) -> None:
        # Said many times a second.
        if time.time() - journal.standing.updated_at > 1.0 or journal.standing.problem != waiting.reason:
            said = {"grouped": {kind: dict(words) for kind, words in waiting.grouped.items()}}
            journal.note(state="waiting", problem=waiting.reason, **(said if waiting.grouped else {}))

    def on_asked(asked: int, answered: int) -> None:
        # Hundreds may answer in a second, and each note is a file.
        changed = journal.standing.state != "training" or answered in (0, asked)
        if changed or time.time() - journal.standing.updated_at > 0.5:
            journal.note(state="training", problem="", asked=asked, answered=answered)

    grid = LiveGrid(task.grid, on_restart=restarted, check=heartbeat.check, on_progress=on_asked)
    registry = Registry(home.registry)
    roster = RegisteredRoster(registry.roster, grid, registry.withdrawn)
    federate(grid, replace(plan, roster=roster), on_round, on_wait)


def _acquire(link: flower_run.Link) -> flower_run.ServerTask:
    from server.live import flower_run
    from shared_models.bundle import bundle, bundle_hash

    flower_run.stop_unfinished_runs(link)
    number = flower_run.submit_run(link, bundle(), bundle_hash())
    deadline = time.monotonic() + _ACQUIRE_SECONDS
    while time.monotonic() < deadline:
        task = flower_run.ServerTask.acquire(link, number)
        if task is not None:
            if task.bundle != bundle():
                raise BundleError(
                    "the SuperLink gave out another bundle than was submitted: check who operates it"
                )
            return task
        time.sleep(0.1)
    raise ServiceError(f"the SuperLink did not give out the task of run {number}: see its log")


def _finish_failed(task: flower_run.ServerTask, reason: str) -> None:
    from server.live import flower_run

    try:
        task.finish(reason)
    except (flower_run.TaskLostError, FedVoiceError, *flower_run.HTTP_ERRORS) as error:
        _say(f"could not report the failed run: {error}")


def _say(line: str) -> None:
    """A line for the log, which may lie on a disk that is full: that ends neither a heartbeat nor a run."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


if __name__ == "__main__":
    main()
