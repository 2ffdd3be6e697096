"""The task protocol of the SuperNode's Runtime API, as Flower 1.41 has it.

A worker of ours claims tasks and answers them, in a process that lives on, with code that is installed here.
What a run's bundle holds is never unpacked. ``tests/client/live/test_supernode_contract.py`` fails if what is
taken from Flower's insides here changes.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import httpx
from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.common.serde import context_from_proto, context_to_proto, fab_from_proto
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
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime.run_clientapp import push_message

from shared_models.errors import ServiceError
from shared_models.refusals import Refused

CLIENT_APP = str(TaskType.CLIENT_APP)
_HEARTBEAT_SECONDS = 10.0
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


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
        try:
            self._message = pull_and_inflate_object_from_tree(
                tree,
                make_pull_object_fn_protobuf(self._client.PullObject, node, run_id),
                make_confirm_message_received_fn_protobuf(self._client.ConfirmMessageReceived, node, run_id),
                return_type=Message,
            )
        except ObjectPullError as error:
            raise ServiceError(f"the SuperNode gave a message up ({error})") from None
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

    def refuse(self, refused: Refused) -> None:
        """Answer with an error whose text the server shows and counts."""
        assert self._message is not None
        error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=str(refused))
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
