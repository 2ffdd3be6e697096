"""A device of a tiny recipe, and ``fedvoice join`` on it as processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from tiny_federation import features_of_tests, small_corpus, tiny_model, tiny_recipe

from client.app import app
from client.home.policy import Policy, as_toml
from client.live.enrolment import enrol
from client.rounds.question import Question
from shared_models import wire
from shared_models.config import Recipe, recipe_from_json
from shared_models.join_code import JoinCode
from simulations.preparation import make_devices, prepare

Made = tuple[Path, Recipe]
"""A device's home, and the recipe of its federation."""
PRIVATE = {
    "privacy__mode": "central",
    "privacy__noise_multiplier": 1.0,
    "privacy__clipping_norm": 0.5,
    "federation__sampling": "fixed",
    "federation__rounds": 4,
    "federation__cohort": 1,
    "client__outer_steps": 1,
}


def device_of(folder: Path, **changes: Any) -> tuple[Path, Recipe]:
    """A device's home with seven recordings of an embedded voice, and the recipe of its federation."""
    corpus = small_corpus(folder / "corpus", train=2, test=1, utterances=7)
    recipe = tiny_recipe(**({"corpus__path": str(corpus)} | PRIVATE | changes))
    data = prepare(recipe, features_of_tests())
    root = make_devices(folder / "devices", data.train, data.cache)
    home = sorted(path.parent for path in root.glob("*/recordings.json"))[0]
    allow(home)
    return home, data.recipe


def allow(home: Path, **fields: Any) -> None:
    """Write a policy under which one small device may be a federation, with some fields changed."""
    small = {"total_epsilon": 50.0, "epsilon_per_run": 40.0, "minimum_batch": 1, "minimum_cohort": 1}
    (home / "policy.toml").write_text(as_toml(Policy.model_validate(small | fields)))


def question(recipe: Recipe, number: int = 1, shift: float | torch.Tensor = 0.0, **fields: Any) -> RecordDict:
    """The content of a ``train`` message."""
    torch.manual_seed(1)
    model = tiny_model(recipe)
    weights = wire.Weights(model.partition.schema, number, model.shared_vector() + shift)
    header, buffer = wire.encode_weights(weights)
    record = ConfigRecord(
        {**header, "recipe": recipe.model_dump_json(), "run": "run", "attempt": 0, "seen": -1, **fields}
    )
    array = Array(wire.DTYPE, (model.partition.size,), wire.STYPE, bytes(buffer))
    return RecordDict({"header": record, "shared": ArrayRecord({"shared": array})})


def digest_of(content: RecordDict) -> str:
    """The digest by which a device knows this question."""
    header = dict(content.config_records["header"])
    vector = torch.frombuffer(bytearray(content.array_records["shared"]["shared"].data), dtype=torch.float32)
    weights = wire.Weights(str(header["schema"]), int(header["round"]), vector)  # type: ignore[arg-type]
    return Question.of(header, recipe_from_json(str(header["recipe"])), weights).digest


def ask(home: Path, content: RecordDict) -> Message:
    """What the device of ``home`` answers to a ``train`` message, in this process."""
    message = Message(content, dst_node_id=1, message_type="train", group_id="1")
    context = Context(1, 1, {"partition-id": 0, "device": str(home)}, RecordDict(), {})
    return app(message, context)


def bytes_of(reply: Message) -> bytes:
    """What a reply carries."""
    assert not reply.has_error(), reply.error
    return bytes(reply.content.array_records["shared"]["shared"].data)


def enrolled(home: Path, link: Any) -> None:
    """Enrol the home."""
    enrol(JoinCode.parse(link.invite()), home, "alice")


@contextmanager
def joined(home: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """``fedvoice join`` on ``home``, stopped (and all that it started) at the end."""
    command = [sys.executable, "-m", "simulations.cli", "join", "--home", str(home), *options]
    surroundings = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "XDG_STATE_HOME": str(home.parent / "state"),
        "XDG_DATA_HOME": str(home.parent / "data"),
        **environment,
    }
    with (home.parent / "join.log").open("ab") as log:
        # The most open of umasks: what is written is private all the same.
        process = subprocess.Popen(command, env=surroundings, stdout=log, stderr=log, umask=0)
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        for child in alive:
            child.kill()
        assert not alive, "join left processes behind"


def status(home: Path) -> dict[str, Any]:
    """The device's status now; empty while there is none."""
    try:
        found: dict[str, Any] = json.loads((home / "status.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def until(found: Callable[[], Any], seconds: float = 90.0, what: str = "it") -> Any:
    """Wait until ``found`` gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.02)
    return value


def pid_of(home: Path, child: str) -> int:
    """The running child's process id."""
    return int(until(lambda: status(home).get("pids", {}).get(child), what=f"a running {child}"))
