"""What a live server uses of Flower 1.41's SuperLink beyond its public API: starting it, and the nodes it knows.

Flower moves its internals between minor versions, so nothing under ``server/live`` but this file, ``flower_run.py``
and ``flower_cli.py`` imports them, and ``tests/server/live/test_superlink_contract.py`` fails where one of them is
not what these files take it for.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import uvicorn
from flwr.common.constant import (
    HEARTBEAT_DEFAULT_INTERVAL,
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    TIMESTAMP_HEADER,
)
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.superlink import extensions
from flwr.superlink.cli.flower_superlink import flower_superlink
from google.protobuf.message import DecodeError
from starlette.middleware import Middleware

from server.live.prompt_connections import prompt_loop, prompt_protocol

NODE_KEY_HEADER = FLEET_HTTP_PUBLIC_KEY_HEADER
NODE_SIGNATURE_HEADER = FLEET_HTTP_SIGNATURE_HEADER
NODE_TIMESTAMP_HEADER = TIMESTAMP_HEADER
HEARTBEAT_SECONDS = float(HEARTBEAT_DEFAULT_INTERVAL)


def run_superlink(arguments: Sequence[str], middleware: Any, head_seconds: float, **options: Any) -> None:
    """Run Flower's SuperLink in this process with ``middleware`` before everything else; does not return.

    A connection that has no whole request's head within ``head_seconds`` ends, and no proxy is believed: whose word
    counts is for the middleware to say.
    """
    extensions.get_middleware = lambda: (Middleware(middleware, **options),)
    sys.argv = ["flower-superlink", *arguments]
    ours: dict[str, Any] = {
        "http": prompt_protocol(head_seconds), "loop": prompt_loop(head_seconds), "proxy_headers": False,
    }  # fmt: skip
    # Set as an attribute of the module: Flower offers no parameter for any of the three.
    flower_superlink.__globals__["uvicorn"] = SimpleNamespace(run=partial(uvicorn.run, **ours))
    flower_superlink()


def link_state(app: Any) -> LinkState:
    """The SuperLink's state, from the ASGI application that a middleware finds in its scope."""
    state: LinkState = app.state.linkstate_factory.state()
    return state


def register_node(state: LinkState, public_key: bytes, name: str) -> int:
    """What the Control API's register-node does: allow this key. Gives the node's id, also the second time."""
    existing = state.get_node_id_by_public_key(public_key)
    if existing is not None:
        return existing
    return state.create_node(
        NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, public_key, HEARTBEAT_DEFAULT_INTERVAL, name=name or None
    )


def unregister_node(state: LinkState, node: int) -> None:
    """Withdraw a node's key for ever; harmless where that was done before."""
    with contextlib.suppress(ValueError):
        state.delete_node(NOOP_FLWR_AID, node)


def let_in_again(state: LinkState, node: int) -> None:
    """Mark a node as gone, so that its restarted process need not wait for the heartbeat of the dead one."""
    state.deactivate_node(node)


def submitted_bundle(start_run_body: bytes) -> bytes:
    """The bundle that a Control start-run request would have run; empty for what is unreadable."""
    request = StartRunRequest()
    try:
        request.ParseFromString(start_run_body)
    except DecodeError:
        return b""
    return bytes(request.fab.content)


def senders(push_messages_body: bytes) -> set[int]:
    """Which nodes a Fleet push-messages request names as senders of its replies; 0 for what is unreadable.

    Flower compares the key with the request's node, and the reply's sender with the question's receiver, but not
    the two with each other.
    """
    request = PushMessagesRequest()
    try:
        request.ParseFromString(push_messages_body)
    except DecodeError:
        return {0}
    return {request.node.node_id, *(message.metadata.src_node_id for message in request.messages_list)}
