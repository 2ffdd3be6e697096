"""What a live server uses of Flower 1.41 beyond its public API to run a federation: runs, tasks and replies.

See :mod:`server.live.flower_state` for why it stands apart, and for the test that watches it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from flwr.app import Context, Error, Message
from flwr.common.constant import (
    ErrorCode,
    Status,
    SubStatus,
)
from flwr.common.serde import context_from_proto, run_from_proto
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest, StopRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import (
    TaskType,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
)
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufClientInterceptor, ProtobufRequestContext
from flwr.supercore.retry import RetryInvoker, RetryState, exponential
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid as HttpGrid

from server.live.home import ADMIN_HEADER
from shared_models.errors import ServiceError

# Errors that the SuperLink makes up itself: the device never answered, and may not have heard the question.
UNHEARD = frozenset(
    {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE}
)
NODE_OFFLINE: int = ErrorCode.NODE_UNAVAILABLE

# What a request may end in while the SuperLink is being restarted.
HTTP_ERRORS = (httpx.HTTPError, ObjectPushError)

_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_GONE = (401, 403)
_BUSY = (502, 503, 504, 507)


class TaskLostError(Exception):
    """The SuperLink no longer counts this process's task as running: stop, and be started again."""


class SuperLinkAwayError(ServiceError):
    """The SuperLink did not answer for longer than the retries last."""


class _AdminInterceptor:
    def __init__(self, token: str) -> None:
        self._token = token

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers[ADMIN_HEADER] = self._token
        return call_next(context)


def admin_interceptor(token: str) -> ProtobufClientInterceptor:
    """What makes a client of Flower's the operator's."""
    return _AdminInterceptor(token)


@dataclass(frozen=True, slots=True)
class Link:
    """How to reach the SuperLink as its operator."""

    address: str
    """``host:port``."""
    ca: bytes
    """PEM."""
    admin_token: str
    superexec_secret: bytes
    patience_seconds: float = 50.0
    """How long a call is tried again while the SuperLink is away: less than the 60 s after which it would count
    this process's task as dead."""

    def control(self) -> ControlHttpClient:
        """A client of the Control API."""
        return ControlHttpClient.from_server_address(
            self.address, False, self.ca, [_AdminInterceptor(self.admin_token)], retry_invoker=self._retry()
        )

    def runtime(self, token: str | None = None) -> RuntimeHttpClient:
        """A client of the Runtime API: with a task's ``token``, or to acquire one."""
        identity: ProtobufClientInterceptor = (
            SuperExecAuthHttpInterceptor(
                master_secret=self.superexec_secret, protected_methods=frozenset({_ACQUIRE})
            )
            if token is None
            else RuntimeTokenHttpInterceptor(token=token)
        )
        interceptors: list[ProtobufClientInterceptor] = [
            RuntimeVersionHttpInterceptor(component_name="flwr-serverapp"),
            _AdminInterceptor(self.admin_token),
            identity,
        ]
        return RuntimeHttpClient.from_server_address(
            self.address, False, self.ca, interceptors, retry_invoker=self._retry()
        )

    def _retry(self) -> RetryInvoker:
        return RetryInvoker(
            wait_gen_factory=lambda: exponential(base_delay=0.1, multiplier=2.0, max_delay=1),
            recoverable_exceptions=(httpx.TransportError, httpx.HTTPStatusError),
            max_tries=None,
            max_time=self.patience_seconds,
            on_giveup=self._give_up,
            should_giveup=_is_final,
        )

    def _give_up(self, state: RetryState) -> None:
        error = state.exception
        if isinstance(error, httpx.HTTPStatusError):
            if error.response.status_code in _GONE:
                raise TaskLostError(error.response.text[:200]) from error
            return
        raise SuperLinkAwayError(
            f"the SuperLink at {self.address} did not answer for {self.patience_seconds:.0f} s: see its log "
            f"({type(error).__name__})"
        ) from error


def _is_final(error: Exception) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in _BUSY


def stop_unfinished_runs(link: Link) -> int:
    """End every run that the SuperLink still counts as going, as after a crash of this process; how many."""
    client = link.control()
    try:
        runs = client.ListRuns(ListRunsRequest(limit=50)).run_dict
        going = [number for number, run in runs.items() if run.status.status != Status.FINISHED]
        for number in going:
            client.StopRun(StopRunRequest(run_id=number))
        # Listing is what makes the SuperLink drop the messages and weights of finished runs.
        client.ListRuns(ListRunsRequest(limit=50))
        return len(going)
    finally:
        client.close()


def submit_run(link: Link, bundle: bytes, bundle_hash: str) -> int:
    """Submit a run with this bundle; gives Flower's id of it. Raises :class:`ServiceError` if it is refused."""
    client = link.control()
    try:
        response = client.StartRun(StartRunRequest(fab=Fab(hash_str=bundle_hash, content=bundle)))
    finally:
        client.close()
    if not response.HasField("run_id"):
        raise ServiceError("the SuperLink refused the run: see its log for the reason")
    return int(response.run_id)


class ServerTask:
    """The ServerApp's task of one run, acquired from the SuperLink; nothing of its bundle is installed."""

    def __init__(self, link: Link, token: str, run: int) -> None:
        self.run = run
        self.client = link.runtime(token)
        given = self.client.PullTaskInput(PullTaskInputRequest())
        self.bundle: bytes = given.fab.content
        self.context: Context = context_from_proto(given.context)
        TaskIdentity.task_id = given.task_id
        TaskIdentity.run_id = given.run.run_id
        TaskIdentity.node_id = given.context.node_id
        self.grid = HttpGrid(link.address, False, link.ca, token=token)
        self.grid._client = self.client
        self.grid.set_run(run_from_proto(given.run))

    @classmethod
    def acquire(cls, link: Link, run: int) -> ServerTask | None:
        """Take the task of ``run`` if it is waiting; tasks of earlier runs are taken and left to expire."""
        client = link.runtime()
        try:
            answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
        finally:
            client.close()
        if not answer.token or answer.task.run_id != run:
            return None
        return cls(link, answer.token, run)

    def heartbeat(self) -> None:
        """Say that the task lives. Raises :class:`TaskLostError` if the SuperLink thinks otherwise."""
        if not self.client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success:
            raise TaskLostError("the SuperLink has ended this run")

    def finish(self, problem: str | None = None) -> None:
        """Report the run's end: completed, or failed with the reason."""
        status = SubStatus.COMPLETED if problem is None else SubStatus.FAILED
        self.client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=problem or ""))

    def close(self) -> None:
        """Close the connection."""
        self.grid.close()


class NotYetError(Exception):
    """A reply was announced, and its objects have not all arrived."""


@dataclass(frozen=True, slots=True)
class Announced:
    """One reply that lies in the SuperLink, of which only a description was fetched."""

    asked: str
    """Number of the message that it answers."""
    fetch: Callable[[], Message | None]
    """Fetches, confirms and gives it; None if its content was lost. Raises :class:`NotYetError`."""


def announced_replies(grid: HttpGrid, messages: Sequence[str]) -> Iterator[Announced]:
    """Which of ``messages`` have been answered, each told once. Content is fetched one by one, so memory stays flat."""
    client = grid._runtime_client
    answer = client.PullMessages(PullAppMessagesRequest(message_ids=messages))
    pairs = zip(answer.messages_list, answer.message_object_trees, strict=True)
    for described, tree in pairs:
        number = described.metadata.message_id
        yield Announced(described.metadata.reply_to_message_id, _fetcher(grid, number, tree))


def _fetcher(grid: HttpGrid, number: str, tree: Any) -> Callable[[], Message | None]:
    run_id = grid.run.run_id
    client = grid._runtime_client

    def pull(object_id: str) -> bytes:
        answer = client.PullObject(PullObjectRequest(node=grid.node, run_id=run_id, object_id=object_id))
        if not answer.object_found:
            raise ObjectPullError(object_id, "lost")
        if not answer.object_available:
            raise NotYetError
        return bytes(answer.object_content)

    def fetch() -> Message | None:
        try:
            # Flower's own way waits here for what is still on its way, and everybody else's reply with it. The
            # message itself comes first: it is small, sent last, and tells whether the rest is worth fetching.
            branches = reversed(list(iterate_object_tree(tree)))
            contents = {branch.object_id: pull(branch.object_id) for branch in branches}
        except ObjectPullError:
            return None
        client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(node=grid.node, run_id=run_id, message_object_id=number)
        )
        message = inflate_object_from_contents(number, contents)
        assert isinstance(message, Message)
        message.metadata.__dict__["_message_id"] = number
        return message

    return fetch


def unanswered(question: Message, reason: str) -> Message:
    """The error reply that stands for a device's silence."""
    return Message(Error(NODE_OFFLINE, reason), reply_to=question)
