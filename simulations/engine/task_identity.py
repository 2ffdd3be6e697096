"""The few insides of Flower that an engine of one's own has to touch, all in this file.

``Message(...)`` asks a private, process-wide class who is building it, and a message gets its number from
the grid that takes it. A contract test holds Flower to what is assumed here, and the dependency is pinned
to one minor version.
"""

from __future__ import annotations

from flwr.app import Message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

SERVER_NODE_ID = SUPERLINK_NODE_ID
FIRST_CLIENT_NODE_ID = SERVER_NODE_ID + 1
CLIENT_APP_RAISED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
CLIENT_APP_CRASHED = ErrorCode.CLIENT_APP_CRASHED

_TASK_ID = 1


def identify(run_id: int, node_id: int) -> None:
    """Say as which node of which run this process builds messages from now on."""
    TaskIdentity.run_id = run_id
    TaskIdentity.task_id = _TASK_ID
    TaskIdentity.node_id = node_id


def number_message(message: Message, number: str) -> None:
    """Give a message the id that its reply will refer to."""
    message.metadata.__dict__["_message_id"] = number


def empty_run(run_id: int) -> Run:
    """A run without an uploaded bundle: the code is installed, not shipped."""
    return Run.create_empty(run_id)
