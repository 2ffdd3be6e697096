"""What the engine assumes of Flower's insides. Where this fails, a new Flower needs another adapter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import flwr
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from simulations.engine import task_identity
from simulations.engine.in_process import InProcessGrid


@pytest.fixture(autouse=True)
def _restore_identity() -> Iterator[None]:
    names = ("_run_id", "_task_id", "_node_id")
    before = {name: getattr(TaskIdentity, name) for name in names}
    yield
    for name, value in before.items():
        setattr(TaskIdentity, name, value)


def test_flower_is_the_version_that_was_read() -> None:
    from importlib.metadata import version

    assert version("flwr").startswith("1.41.")
    assert flwr.__name__ == "flwr"


def test_a_message_is_built_by_whom_we_say() -> None:
    task_identity.identify(run_id=7, node_id=5)
    message = Message(RecordDict(), 12, "train", group_id="3")
    assert (message.metadata.run_id, message.metadata.src_node_id, message.metadata.dst_node_id) == (7, 5, 12)
    assert message.metadata.src_task_id is not None


def test_without_an_identity_no_message_can_be_built() -> None:
    TaskIdentity._run_id = None
    with pytest.raises(RuntimeError, match="run_id"):
        Message(RecordDict(), 12, "train")


def test_a_reply_refers_to_the_number_that_its_message_was_given() -> None:
    task_identity.identify(1, task_identity.SERVER_NODE_ID)
    message = Message(RecordDict(), task_identity.FIRST_CLIENT_NODE_ID, "query.hello")
    task_identity.number_message(message, "41")
    for reply in (Message(RecordDict(), reply_to=message), Message(Error(8, "gone"), reply_to=message)):
        assert reply.metadata.reply_to_message_id == "41"
        assert reply.metadata.src_node_id == task_identity.FIRST_CLIENT_NODE_ID
        assert reply.metadata.dst_node_id == task_identity.SERVER_NODE_ID


def test_an_array_takes_a_view_by_assignment_alone() -> None:
    view = memoryview(bytearray(8))
    with pytest.raises(TypeError):
        Array("float32", (2,), "fedvoice.flat", view)
    array = Array("float32", (2,), "fedvoice.flat", b"")
    array.data = view  # type: ignore[assignment]
    record = ArrayRecord()
    record["shared"] = array
    assert record["shared"].data is view


def test_the_grid_implements_all_of_flowers_interface() -> None:
    assert Grid.__abstractmethods__ == {
        "create_message",
        "get_node_ids",
        "pull_messages",
        "push_messages",
        "run",
        "send_and_receive",
        "set_run",
    }
    assert not InProcessGrid.__abstractmethods__


def test_the_engine_turns_usage_reports_off_before_flower_is_imported() -> None:
    code = (
        "import os; os.environ.pop('FLWR_TELEMETRY_ENABLED', None); "
        "import simulations.engine.in_process; "
        "from flwr.supercore import telemetry; print(telemetry.FLWR_TELEMETRY_ENABLED)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
