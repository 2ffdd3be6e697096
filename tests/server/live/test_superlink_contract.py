"""What ``flower_state.py`` and ``flower_run.py`` take Flower's internals for. Fails where an upgrade changes it."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from flwr.common.constant import HEARTBEAT_PATIENCE, SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE, ErrorCode
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.node_pb2 import Node, NodeInfo
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink import extensions
from flwr.superlink import main as superlink_main
from flwr.superlink.cli.flower_superlink import flower_superlink
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import HttpGrid
from flwr.superlink.routers.fleet.router import router as fleet_router

from server.live import flower_run, flower_state
from server.live.device_calls import FLEET_CALLS
from server.live.flower_run import Link
from server.live.signatures import CLOCK_SECONDS


def _state(folder: Path):  # type: ignore[no-untyped-def]
    database = str(folder / "state.db")
    manager = NoOpFederationManager()
    factory = LinkStateFactory(database, manager, ObjectStoreFactory(database))
    state = factory.state()
    manager.linkstate = state
    return state


def test_the_gate_goes_before_all_of_flowers_middleware() -> None:
    assert "*extensions.get_middleware()," in inspect.getsource(superlink_main._get_middleware)
    assert inspect.signature(extensions.get_middleware).parameters == {}


def test_the_server_is_started_in_one_place_with_what_we_add_left_open() -> None:
    source = inspect.getsource(sys.modules[flower_superlink.__module__])
    assert re.findall(r"\buvicorn\.\w+", source) == ["uvicorn.run"]
    asked = source[source.index("uvicorn.run(") :].split("\n    )\n", 1)[0]
    for ours in ("http=", "loop=", "proxy_headers="):
        assert ours not in asked
    assert flower_superlink.__globals__ is vars(sys.modules[flower_superlink.__module__])


def test_flowers_command_line_makes_its_client_of_what_we_replace() -> None:
    from flwr.cli import utils

    source = inspect.getsource(utils.init_http_client_from_connection)
    assert "http_client = ControlHttpClient.from_server_address(" in source
    assert "return cls(" in inspect.getsource(utils.ControlHttpClient.from_server_address)


def test_fleet_calls_are_the_ones_that_the_gate_knows() -> None:
    calls = {str(vars(route)["path"]).removeprefix("/v1/fleet/") for route in fleet_router.routes}
    assert calls - {"register-node", "unregister-node"} == FLEET_CALLS


def test_nodes_are_registered_and_withdrawn_as_by_the_control_api(tmp_path: Path) -> None:
    state = _state(tmp_path)
    node = flower_state.register_node(state, b"key", "name")
    assert flower_state.register_node(state, b"key", "name") == node
    assert state.activate_node(node, 30.0)
    assert not state.activate_node(node, 30.0)
    first = state.get_node_info(node_ids=[node])[0].last_activated_at
    flower_state.let_in_again(state, node)
    assert state.activate_node(node, 30.0)
    assert state.get_node_info(node_ids=[node])[0].last_activated_at != first
    flower_state.unregister_node(state, node)
    flower_state.unregister_node(state, node)
    assert state.get_node_id_by_public_key(b"key") is None


def test_a_reply_says_who_sends_it() -> None:
    request = PushMessagesRequest(node=Node(node_id=7))
    request.messages_list.add().metadata.src_node_id = 8
    assert flower_state.senders(request.SerializeToString()) == {7, 8}
    assert flower_state.senders(b"\xff\xff\xff") == {0}


def test_the_grid_has_the_parts_that_ours_is_made_of() -> None:
    assert list(inspect.signature(HttpGrid.__init__).parameters) == [
        "self", "runtime_api_address", "insecure", "root_certificates", "token",
    ]  # fmt: skip
    assert isinstance(inspect.getattr_static(HttpGrid, "_runtime_client"), property)
    assert "self._client)" in inspect.getsource(HttpGrid)
    assert "last_activated_at" in {field.name for field in NodeInfo.DESCRIPTOR.fields}


def test_times_and_codes() -> None:
    link = Link("localhost:1", b"", "", b"")
    assert link.patience_seconds < HEARTBEAT_PATIENCE * flower_state.HEARTBEAT_SECONDS
    assert CLOCK_SECONDS <= TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
    assert {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE} <= flower_run.UNHEARD
