"""The device's worker: ``python -m client.live.worker HOME PORT``, a child of ``fedvoice join``.

It claims the SuperNode's tasks one by one and answers each with the ClientApp that is installed here, in this
one process: nothing is started, installed or imported for a round, least of all what came with the run.
"""

from __future__ import annotations

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import contextlib
import logging
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from flwr.app import Context, Message

from client.home.ledger import Ledger
from client.home.ledger_anchor import state_folder
from client.home.policy import Policy, load_policy
from client.home.spending import spent_without_sampling
from client.live.conditions import not_now
from client.live.flower_tasks import CLIENT_APP, ClaimedTask, TaskDesk
from client.live.home import superexec_secret
from client.live.pace import Pace
from client.live.status import Noticeboard
from client.rounds.answers import Answers
from shared_models.bundle import refusal
from shared_models.config import UNPROTECTED
from shared_models.disk import room
from shared_models.errors import (
    AcceleratorError,
    BundleError,
    DeclinedError,
    FedVoiceError,
    LacksAnchorError,
    RecipeError,
    RefusedError,
    ServiceError,
    StorageError,
    WireError,
)
from shared_models.private_files import private_from_now_on, shut_home
from shared_models.refusals import Refusal, Refused
from shared_models.supervision import die_with_parent

App = Callable[[Message, Context], Message]
_TOLD_IN_FULL = (BundleError, DeclinedError, LacksAnchorError, RecipeError, RefusedError, WireError)
"""Errors whose text is made for the server, or speaks of nothing but its own message."""


class Worker:
    """Answers the tasks of one device."""

    def __init__(self, home: Path, desk: TaskDesk, app: App) -> None:
        self._home, self._desk, self._app = home, desk, app
        self._board = Noticeboard(home / "live", "worker")
        self._pace = Pace(least=0.05, most=0.5)
        self._policy_of: float | None = None
        """When the policy that was last looked at was written."""

    def run(self) -> None:
        """Answer tasks until the process ends."""
        self._board.note(state="waiting", **self._spent())
        while True:
            if not self.step():
                time.sleep(self._pace.next_pause())

    def step(self) -> bool:
        """Answer one task if there is one; whether there was."""
        try:
            task = self._desk.claim()
        except httpx.TransportError:
            return False  # The SuperNode is starting, or gone: the supervisor sees to it.
        if task is None:
            self._note_conditions()
            return False
        self._pace.happened()
        with task:
            try:
                self._answer(task)
            except (httpx.HTTPError, ServiceError) as error:
                # The SuperNode went away meanwhile. The reply is in the outbox, and will be asked for again.
                self._board.note(state="waiting", problem=f"a reply was not handed over yet ({error})")
        return True

    def _answer(self, task: ClaimedTask) -> None:
        message, context = task.pull()
        asked = {"type": message.metadata.message_type, "round": message.metadata.group_id}
        if reason := self._refusal(task, message):
            self._board.note(refusal=reason, refused_at=time.time(), **asked)
            task.refuse(Refused(Refusal.DECLINED, reason))
            return
        training = message.metadata.message_type == "train"
        if training:
            self._board.note(state="training", problem=None, paused=None, **asked)
        try:
            reply = self._app(message, context)
        except Exception as error:
            self._failed(task, error)
            return
        task.answer(reply)
        if training:
            over = {"problem": None, "refusal": None, "refused_at": None}
            self._board.note(**{**over, **self._spent(), **_what_was_sent(reply), "state": "waiting"})

    def _refusal(self, task: ClaimedTask, message: Message) -> str | None:
        if task.kind != CLIENT_APP:
            return f"the run asks for a task of kind '{task.kind}': this device answers no other than FedVoice's rounds"
        if reason := refusal(task.bundle):
            return reason
        try:
            return not_now(self._policy()) if message.metadata.message_type == "train" else None
        except RecipeError as error:
            self._board.note(problem=str(error))
            return "not now (the device's policy cannot be read)"

    def _failed(self, task: ClaimedTask, error: Exception) -> None:
        for_owner = (
            Refused.parse(str(error)).said
            if isinstance(error, FedVoiceError)
            else f"{type(error).__name__} (see logs/worker.log)"
        )
        if not isinstance(error, FedVoiceError):
            with contextlib.suppress(OSError):
                traceback.print_exc()
        refused = _told(error)
        if refused.kind is Refusal.DISK:
            for_owner += f"; {room(self._home)} where {self._home} lies"
        declined = isinstance(error, DeclinedError)
        noted: dict[str, Any] = (
            {"refusal": for_owner, "refused_at": time.time(), "problem": None}
            if declined
            else {"problem": for_owner, "refusal": None, "refused_at": None}
        )
        self._board.note(**{**self._spent(), **noted, "state": "waiting"})
        task.refuse(refused)

    def _note_conditions(self) -> None:
        """Say why the device would not train now, before anybody asks it to."""
        if time.time() - self._board.value("looked", 0.0) < 10:
            return
        try:
            self._board.note(paused=not_now(self._policy()), looked=time.time(), **self._what_is_over())
        except RecipeError as error:
            self._board.note(problem=str(error), looked=time.time())

    def _what_is_over(self) -> dict[str, Any]:
        """A policy that was changed makes void what was said under the one before."""
        changed = _changed_at(self._home / "policy.toml")
        if changed == self._policy_of:
            return {}
        first, self._policy_of = self._policy_of is None, changed
        return {} if first else {"problem": None, "refusal": None, "refused_at": None, **self._spent()}

    def _policy(self) -> Policy:
        return load_policy(self._home / "policy.toml")

    def _spent(self) -> dict[str, Any]:
        """Epsilon of the person, spent and left, for the owner to see; and whether a run is no longer answered.

        The second epsilon believes in no coin: it is what a server that knows who was drawn could know.
        """
        try:
            policy, answers = self._policy(), Answers(self._home)
            if _unprotected(answers):
                # Not 0: what was sent without noise has no bound.
                nothing = dict.fromkeys(("epsilon", "epsilon_left", "epsilon_without_sampling", "delta"))
                return {**nothing, "protection": UNPROTECTED, "stopped": _why_stopped(answers)}
            ledger = Ledger(self._home / "ledger.sqlite", policy.total_epsilon, policy.delta)
            return {
                "epsilon": ledger.spent("person"),
                "epsilon_left": ledger.left("person"),
                "epsilon_without_sampling": spent_without_sampling(ledger),
                "delta": policy.delta,
                "stopped": _why_stopped(answers),
            }
        except FedVoiceError as error:
            return {"problem": str(error)}


def _changed_at(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _why_stopped(answers: Answers) -> str | None:
    """Why the newest run is no longer answered; None if it is, or there is none."""
    records = list(answers.all().values())
    return records[-1].stopped if records else None


def _unprotected(answers: Answers) -> bool:
    """Whether anything was ever sent without noise."""
    answered = [record.recipe or {} for record in answers.all().values() if record.answered]
    return any(recipe.get("privacy", {}).get("mode") == "none" for recipe in answered)


def _told(error: Exception) -> Refused:
    """What the server learns of an error: the words that were made for it, or no more than what kind of error it is."""
    name = type(error).__name__
    refusal = error.refusal if isinstance(error, FedVoiceError) else Refusal.FAILED
    if not isinstance(error, _TOLD_IN_FULL):
        return Refused(refusal, f"{name}: the device could not answer")
    said = Refused.parse(str(error)).said
    named = isinstance(error, RefusedError) or refusal is not Refusal.FAILED
    return Refused(refusal, said if named else f"{name}: {said}")


def _what_was_sent(reply: Message) -> dict[str, Any]:
    header = reply.content.config_records["header"]
    array = reply.content.array_records["shared"]["shared"]
    return {
        "last_round": header["round"],
        "update_numbers": header["size"],
        "update_bytes": len(array.data),
        "updated_at": time.time(),
    }


def main(home: Path, port: int) -> None:
    """Answer tasks of the SuperNode at ``port`` until a signal ends this process."""
    # Imported here: it brings torch, and the worker's first word should not wait for that.
    from client.app import app
    from shared_models.accelerator import Accelerator, limit_memory

    # What is remembered outside of the home, which its supervisor sees to.
    shut_home(state_folder())
    policy = load_policy(home / "policy.toml")
    limit_memory(Accelerator.resolve(policy.device).device, policy.gpu_share)
    desk = TaskDesk(f"127.0.0.1:{port}", superexec_secret(home).read_bytes())
    Worker(home, desk, app).run()


if __name__ == "__main__":
    die_with_parent()
    private_from_now_on()
    # At once, and without a word: whatever is at hand is taken up again by the next worker.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except (AcceleratorError, StorageError) as problem:
        sys.exit(str(problem))
