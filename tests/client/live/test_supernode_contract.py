"""What ``flower_node.py`` and ``flower_tasks.py`` take Flower's insides for. Where one fails, Flower has changed."""

from __future__ import annotations

import inspect
import re

import httpx
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.server.superlink.linkstate import sql_linkstate
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.nodestate import in_memory_nodestate


def test_the_connection_hands_out_these_eight_things_in_this_order() -> None:
    source = inspect.getsource(fleet_http_connection.http_request_response)
    yielded = source[source.index("yield (") : source.index("except Exception")]
    names = [line.strip(" ,") for line in yielded.splitlines()[1:-1] if line.strip(" ,)")]
    assert names == [
        "node.node_id", "receive", "send", "get_run", "get_fab", "pull_object", "push_object",
        "confirm_message_received",
    ]  # fmt: skip


def test_the_supernode_finds_connection_and_sleep_as_attributes_of_its_module() -> None:
    source = inspect.getsource(start_client_internal)
    assert "with http_request_response(" in source
    assert source.count("time.sleep(") == 3
    assert "time.sleep(3)" in source
    assert set(re.findall(r"(?<!\w)time\.(\w+)\(", source)) == {"sleep"}
    assert "FleetHttpClient.from_server_address(" in inspect.getsource(fleet_http_connection)


def test_the_last_interceptor_sees_the_request_as_it_goes_out_and_may_send_it_again() -> None:
    source = inspect.getsource(ProtobufClient._send)
    assert "for interceptor in reversed(self._interceptors)" in source
    assert list(inspect.signature(ProtobufClient.__init__).parameters)[1:3] == ["base_url", "interceptors"]
    sent: list[str] = []

    class Twice:
        def intercept(self, context, call_next):  # type: ignore[no-untyped-def]
            context.request.headers["signed"] = "once"
            call_next(context)
            context.request.headers["signed"] = "again"
            return call_next(context)

    client = FleetHttpClient("https://server", interceptors=[Twice()])
    client._client = httpx.Client(
        transport=httpx.MockTransport(
            lambda asked: sent.append(asked.headers["signed"] + str(asked.content)) or httpx.Response(200)
        )
    )
    client.PullMessages(PullMessagesRequest())
    assert sent == ["onceb''", "againb''"]


def test_more_is_asked_for_only_when_the_last_message_is_done_with() -> None:
    source = inspect.getsource(start_client_internal.start_client_internal)
    loop = source[source.index("while True:") :]
    assert loop.index("_pull_and_store_message") < loop.index("_push_messages")
    waits = inspect.getsource(start_client_internal._push_messages)
    assert "while not (reply_messages := state.get_messages_legacy(is_reply=True))" in waits


def test_a_message_stays_on_the_server_until_it_is_confirmed() -> None:
    source = inspect.getsource(start_client_internal._pull_and_store_message)
    assert source.index("pull_objects(") < source.index("confirm_message_received(run_id")


def test_the_client_has_one_way_for_all_calls_and_a_method_for_each() -> None:
    assert list(inspect.signature(FleetHttpClient._unary_unary).parameters)[1:5] == [
        "path", "rpc_method", "request", "response_type",
    ]  # fmt: skip
    for name in ("ActivateNode", "DeactivateNode", "SendNodeHeartbeat", "PullMessages"):
        assert list(inspect.signature(getattr(FleetHttpClient, name)).parameters) == ["self", "request"]


def test_a_heartbeat_brings_a_node_online_anew_that_had_signed_off() -> None:
    # By which a server knows that what it had handed out may be lost.
    source = inspect.getsource(sql_linkstate.SqlLinkState.acknowledge_node_heartbeat)
    assert re.search(r"last_activated_at=case\(\s*\(\s*NodeModel.status != NodeStatus.ONLINE", source)


def test_an_unclaimed_agent_task_would_block_the_supernode() -> None:
    # Why the worker claims both kinds, and refuses one.
    assert "TaskType.AGENT_APP" in inspect.getsource(start_client_internal._pull_and_store_message)
    assert "_store_error_replies" in inspect.getsource(in_memory_nodestate)
