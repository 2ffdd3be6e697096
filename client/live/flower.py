"""The one place of the device that touches Flower's insides (1.41).

``tests/client/live/test_supernode_contract.py`` fails if they change.

Three things are taken from Flower and adapted:

- the SuperNode's connection: replies that were refused are told in words, traffic is counted, and a message is
  in the journal until it was answered, so that a device that dies in between takes it up again;
- the SuperNode's waiting: it sleeps 3 s between polls, which here follows what goes on;
- the task protocol of its Runtime API: a worker of ours claims tasks and answers them, in a process that lives on,
  with code that is installed here. What a run's bundle holds is never unpacked.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import httpx
from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.common.serde import context_from_proto, context_to_proto, fab_from_proto, message_from_proto
from flwr.common.serde import message_to_proto as proto_of
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.runtime.run_clientapp import push_message

from shared_models.errors import ServiceError, StorageError

CLIENT_APP = str(TaskType.CLIENT_APP)
DEVICE_REFUSED = 77
"""How a SuperNode's process ends whose server no longer talks to this device."""
_UNWANTED = (401, 403)
_HEARTBEAT_SECONDS = 10.0
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


class Journal(Protocol):
    """Keeps the message that is being answered, across the end of this process."""

    def load(self) -> bytes | None:
        """The message that was not answered yet, or None."""

    def save(self, message: bytes) -> None:
        """Keep this message."""

    def clear(self) -> None:
        """It was answered."""


class Watcher(Protocol):
    """Is told what passes between the SuperNode and its server."""

    def connected(self, node_id: int) -> None:
        """The server knows this node now."""

    def polled(self, found: bool) -> None:
        """The server was asked for a message, and had one or not."""

    def received(self, size: int) -> None:
        """So many bytes of weights arrived."""

    def sent(self, size: int) -> None:
        """So many bytes of an update left."""

    def refused(self, status: int, text: str, date: str) -> None:
        """The server answered with an HTTP status of 400 or more; ``date`` is its Date header."""


@dataclass(frozen=True, slots=True)
class SuperNodeHooks:
    """What a SuperNode of ours does differently."""

    journal: Journal
    watcher: Watcher
    pause: Callable[[float], None]
    """Replaces Flower's ``time.sleep``; is given the seconds that Flower would sleep."""
    known_node: int | None
    """The node id under which this very device may still be taken to be online, after it died uncleanly."""


def run_supernode(arguments: Sequence[str], hooks: SuperNodeHooks) -> None:
    """Run Flower's own ``flower-supernode`` with ``arguments`` in this process, until a signal ends it."""
    sys.argv = ["flower-supernode", *arguments]
    plain_connection = fleet_http_connection.http_request_response

    @contextlib.contextmanager
    def connection(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with plain_connection(*args, **kwargs) as conn:
            hooks.watcher.connected(conn[0])
            yield _adapted(conn, hooks)

    class Client(_ExplainingClient):
        watcher = hooks.watcher
        known_node = hooks.known_node

    # Set as attributes of the modules: Flower offers no parameter for any of the three.
    vars(fleet_http_connection)["FleetHttpClient"] = Client
    vars(start_client_internal)["http_request_response"] = connection
    vars(start_client_internal)["time"] = SimpleNamespace(sleep=hooks.pause)
    flower_supernode()


class _ExplainingClient(FleetHttpClient):
    """Flower's client, which reports refusals, and comes online anew where a message may have been lost.

    Flower hands a message out once. One that was on its way to a process that died, or in an answer that was
    cut off, reaches nobody; a node that comes online anew is asked again.
    """

    watcher: Watcher
    known_node: int | None
    _heartbeat_interval: float
    _answer_lost = False

    def _unary_unary(self, **call: Any) -> Any:
        try:
            return super()._unary_unary(**call)
        except httpx.HTTPStatusError as error:
            response = error.response
            self.watcher.refused(response.status_code, response.text, response.headers.get("date", ""))
            raise

    def ActivateNode(self, request: ActivateNodeRequest) -> ActivateNodeResponse:  # noqa: N802
        self._heartbeat_interval = request.heartbeat_interval
        try:
            return super().ActivateNode(request)
        except httpx.HTTPStatusError as error:
            if error.response.status_code in _UNWANTED:
                raise SystemExit(DEVICE_REFUSED) from None
            # A process that was killed could not sign off, and Flower takes its node to be in use for a
            # minute more. Whether it was ours is for `known_node` to say.
            if self.known_node is None or not self._online_anew(self.known_node):
                raise
            return ActivateNodeResponse(node_id=self.known_node)

    def PullMessages(self, request: PullMessagesRequest) -> PullMessagesResponse:  # noqa: N802
        if self._answer_lost:
            self._answer_lost = not self._online_anew(request.node.node_id)
        try:
            return super().PullMessages(request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise  # It was never asked.
        except httpx.TransportError:
            self._answer_lost = True
            raise
        except httpx.HTTPStatusError as error:
            self._answer_lost = error.response.is_server_error
            raise

    def _online_anew(self, node_id: int) -> bool:
        """Sign off and be online at once again; whether the server took it."""
        # Another process of this device, or the server itself, may have signed it off already.
        with contextlib.suppress(httpx.HTTPStatusError):
            self.DeactivateNode(DeactivateNodeRequest(node_id=node_id))
        beat = SendNodeHeartbeatRequest(
            node=Node(node_id=node_id), heartbeat_interval=self._heartbeat_interval
        )
        return bool(self.SendNodeHeartbeat(beat).success)


def _adapted(conn: Any, hooks: SuperNodeHooks) -> Any:
    """Flower's connection, with a journal of the message in hand and counted traffic."""
    node_id, receive, send, get_run, get_fab, pull_object, push_object, confirm = conn
    in_hand: list[tuple[int, str]] = []
    journal, watcher = hooks.journal, hooks.watcher
    replayed = [journal.load()]

    def receive_or_take_up() -> Any:
        if in_hand:
            # Flower asks for more only once it has answered, or given up, what it had.
            journal.clear()
            # Only now may the server forget the content: until here a restart would have fetched it again.
            with contextlib.suppress(RunNotRunningException, httpx.HTTPError, RuntimeError):
                confirm(*in_hand.pop())
        kept = replayed.pop() if replayed else None
        found = _received(receive) if kept is None else _unpacked(kept, node_id)
        watcher.polled(found is not None)
        if found is not None:
            message, tree = found
            in_hand[:] = [(message.metadata.run_id, message.metadata.message_id)]
            if kept is None:
                packed = PullMessagesResponse(messages_list=[proto_of(message)], message_object_trees=[tree])
                # On a full disk the message is answered all the same: the answer says that the disk is full.
                with contextlib.suppress(StorageError):
                    journal.save(packed.SerializeToString())
        elif kept is not None:
            journal.clear()
        return found

    def counted_pull(run_id: int, object_id: str) -> bytes:
        content: bytes = pull_object(run_id, object_id)
        watcher.received(len(content))
        return content

    def counted_push(run_id: int, session: str, object_id: str, content: bytes) -> None:
        push_object(run_id, session, object_id, content)
        watcher.sent(len(content))

    def confirm_later(_run_id: int, _message_id: str) -> None:
        """Not yet: see ``receive_or_take_up``."""

    return (
        node_id, receive_or_take_up, send, get_run, get_fab, counted_pull, counted_push, confirm_later,
    )  # fmt: skip


def _received(receive: Callable[[], Any]) -> Any:
    try:
        return receive()
    except RunNotRunningException:
        # Flower's reading of any 403. No run is named in this request: it is the device that is refused.
        raise SystemExit(DEVICE_REFUSED) from None


def _unpacked(kept: bytes, node_id: int) -> Any:
    packed = PullMessagesResponse()
    packed.ParseFromString(kept)
    message = message_from_proto(packed.messages_list[0])
    meta = message.metadata
    if meta.dst_node_id != node_id or meta.created_at + meta.ttl <= time.time():
        return None
    return message, packed.message_object_trees[0]


class TaskDesk:
    """Where the worker gets its tasks: the Runtime API of this device's own SuperNode, on loopback.

    All methods raise ``httpx.HTTPError`` while the SuperNode is not there.
    """

    def __init__(self, address: str, secret: bytes) -> None:
        self.address = address
        auth = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
        self._client = _runtime_client(address, auth)

    def claim(self) -> ClaimedTask | None:
        """The next task of any kind, or None. A kind that nobody claimed would block the SuperNode for good."""
        kinds = [str(TaskType.CLIENT_APP), str(TaskType.AGENT_APP)]
        response = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=kinds))
        if not response.HasField("task") or not response.token:
            return None
        client = _runtime_client(self.address, RuntimeTokenHttpInterceptor(response.token))
        return ClaimedTask(client, response.task.type)


class ClaimedTask:
    """One task: pull it, answer it. Within ``with`` its SuperNode is told that the worker lives."""

    def __init__(self, client: RuntimeHttpClient, kind: str) -> None:
        self._client = client
        self.kind = kind
        self.bundle = b""
        """What came with the run. Compared, never opened."""
        self._message: Message | None = None
        self._context: Context | None = None
        self._done = threading.Event()

    def __enter__(self) -> ClaimedTask:
        threading.Thread(target=self._beat, name="task heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._client.close()

    def pull(self) -> tuple[Message, Context]:
        """The message, whole, and the context in which it is to be answered."""
        task = self._client.PullTaskInput(PullTaskInputRequest())
        # Flower's messages take their sender from here when they are made.
        TaskIdentity.task_id = task.task_id
        TaskIdentity.run_id = task.run.run_id
        TaskIdentity.node_id = task.context.node_id
        self._context = context_from_proto(task.context)
        self.bundle = fab_from_proto(task.fab).content
        pulled = self._client.PullMessages(PullAppMessagesRequest())
        if not pulled.messages_list:
            raise ServiceError(
                "the SuperNode handed over a task without a message: it was restarted meanwhile"
            )
        node, run_id = Node(node_id=self._context.node_id), self._context.run_id
        tree = pulled.message_object_trees[0]
        self._message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self._client.PullObject, node, run_id),
            make_confirm_message_received_fn_protobuf(self._client.ConfirmMessageReceived, node, run_id),
            return_type=Message,
        )
        # An inflated message lacks its own id.
        self._message.metadata.__dict__["_message_id"] = tree.object_id
        return self._message, self._context

    def answer(self, reply: Message) -> None:
        """Hand the reply over to the SuperNode and end the task."""
        assert self._message is not None
        assert self._context is not None
        # An answer that is given again after a crash has to be the same message, or the server, which may
        # hold half of the first one, refuses it. What is in it is the same; here its date becomes so.
        reply.metadata.created_at = self._message.metadata.created_at
        reply.metadata.ttl = self._message.metadata.ttl
        push_message(self._client, reply, self._context)
        self._client.PushTaskOutput(
            PushTaskOutputRequest(
                context=context_to_proto(self._context),
                sub_status=SubStatus.FAILED if reply.has_error() else SubStatus.COMPLETED,
                details=(reply.error.reason or "") if reply.has_error() else "",
            )
        )

    def refuse(self, reason: str) -> None:
        """Answer with an error whose text the server shows and counts."""
        assert self._message is not None
        error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason)
        self.answer(Message(error, reply_to=self._message))

    def _beat(self) -> None:
        while not self._done.wait(_HEARTBEAT_SECONDS):
            # A SuperNode that is gone is noticed where the answer is handed over.
            with contextlib.suppress(httpx.HTTPError, RuntimeError):
                self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest())


def _runtime_client(address: str, credential: Any) -> RuntimeHttpClient:
    return RuntimeHttpClient.from_server_address(
        server_address=address,
        insecure=True,
        root_certificates=None,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"), credential],
    )
