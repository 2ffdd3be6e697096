"""Flower's SuperNode (1.41) as a FedVoice device runs it.

``tests/client/live/test_supernode_contract.py`` fails if what is taken from Flower's insides here changes. Three
things are adapted:

- the connection: every call is signed whole, replies that were refused are told in words, traffic is counted, and
  a message is in the journal until it was answered, so that a device that dies in between takes it up again;
  where one may have been lost on its way, the node comes online anew and is asked again;
- what is fetched: a device that keeps declining says so from a question's envelope, without its weights;
- the waiting: it sleeps 3 s between polls, which here follows what goes on.

The tasks that this SuperNode hands out are answered by way of :mod:`client.live.flower_tasks`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import httpx
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.common.serde import message_to_proto as proto_of
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.live.call_signer import CallSigner
from client.live.restraint import Restraint
from shared_models.errors import StorageError
from shared_models.published_model import FINISHED_HEADER, PUBLISHED_HEADER

DEVICE_REFUSED = 77
"""How a SuperNode's process ends whose server no longer talks to this device."""
_UNWANTED = (401, 403)


class Journal(Protocol):
    """Keeps the message that is being answered, across the end of this process."""

    def holds(self) -> bool:
        """Whether there is a message that was not answered yet."""

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

    def finished(self, last_round: int, published: bool) -> None:
        """The server says that the federation is over, and whether a model is published."""

    def refused(self, status: int, text: str, date: str) -> None:
        """The server answered with an HTTP status of 400 or more; ``date`` is its Date header."""


@dataclass(frozen=True, slots=True)
class SuperNodeHooks:
    """What a SuperNode of ours does differently."""

    journal: Journal
    watcher: Watcher
    pause: Callable[[float], None]
    """Replaces Flower's ``time.sleep``; is given the seconds that Flower would sleep."""
    sign: Callable[[bytes], bytes]
    """This device's signature (ECDSA with SHA-256) of a call."""
    known_node: int | None
    """The node id under which this very device may still be taken to be online, after it died uncleanly."""
    restraint: Restraint
    """Whether a question is worth fetching."""


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
        watcher, journal = hooks.watcher, hooks.journal
        sign = staticmethod(hooks.sign)
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
    journal: Journal
    sign: Callable[[bytes], bytes]
    known_node: int | None
    _heartbeat_interval: float
    _answer_lost = False

    def __init__(
        self, base_url: str, *, interceptors: Sequence[ProtobufClientInterceptor] = (), **options: Any
    ) -> None:
        ours = (_EndReader(self.watcher), CallSigner(self.sign))
        super().__init__(base_url, interceptors=(*interceptors, *ours), **options)

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
            if self.known_node is None:
                raise
            # There is one message at a time: with one in hand, none can have been lost, and Flower would
            # answer this one in the device's stead if it went offline.
            on = self._stay_online if self.journal.holds() else self._online_anew
            if not on(self.known_node):
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
            self._answer_lost = self._answer_lost or error.response.is_server_error
            raise

    def _online_anew(self, node_id: int) -> bool:
        """Sign off and be online at once again; whether the server took it."""
        # Another process of this device, or the server itself, may have signed it off already.
        with contextlib.suppress(httpx.HTTPStatusError):
            self.DeactivateNode(DeactivateNodeRequest(node_id=node_id))
        return self._stay_online(node_id)

    def _stay_online(self, node_id: int) -> bool:
        beat = SendNodeHeartbeatRequest(
            node=Node(node_id=node_id), heartbeat_interval=self._heartbeat_interval
        )
        return bool(self.SendNodeHeartbeat(beat).success)


class _EndReader:
    """Reads in an answer's headers that the federation is over."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def intercept(self, context: Any, call_next: Callable[[Any], httpx.Response]) -> httpx.Response:
        response = call_next(context)
        last = response.headers.get(FINISHED_HEADER, "")
        if response.is_success and last.isascii() and last.isdigit() and len(last) < 10:
            self._watcher.finished(int(last), response.headers.get(PUBLISHED_HEADER) == "1")
        return response


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
        if found is not None and kept is None and declined_unseen(found[0]):
            return None
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

    def declined_unseen(message: Message) -> bool:
        asked = message.metadata
        words = hooks.restraint.words(asked.run_id) if asked.message_type == "train" else None
        return words is not None and _answered_at_once(message, words, send, push_object, confirm)

    def noted_send(message: Message, tree: ObjectTree, seconds: float) -> Any:
        refusal = (message.error.reason or "it failed") if message.has_error() else None
        # Before it leaves: a policy that is changed in answer to it was not the one that it was given under.
        hooks.restraint.answered(message.metadata.run_id, refusal)
        return send(message, tree, seconds)

    def counted_pull(run_id: int, object_id: str) -> bytes:
        try:
            content: bytes = pull_object(run_id, object_id)
        except RunNotRunningException:
            # No Exception by its class: past it, Flower would leave the task that it had begun for this
            # message, whose worker would wait for hours for what does not come.
            raise ObjectPullError(object_id, "its run has ended") from None
        watcher.received(len(content))
        return content

    def counted_push(run_id: int, session: str, object_id: str, content: bytes) -> None:
        push_object(run_id, session, object_id, content)
        watcher.sent(len(content))

    def confirm_later(_run_id: int, _message_id: str) -> None:
        """Not yet: see ``receive_or_take_up``."""

    return (
        node_id, receive_or_take_up, noted_send, get_run, get_fab, counted_pull, counted_push, confirm_later,
    )  # fmt: skip


def _answered_at_once(message: Message, words: str, send: Any, push_object: Any, confirm: Any) -> bool:
    """Whether the server took a refusal of a message whose content was not fetched."""
    reply = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, words), reply_to=message)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    run_id = message.metadata.run_id
    try:
        wanted, session = send(reply, get_object_tree(reply), 0.0)
        for object_id, content in get_all_nested_objects(reply).items():
            if object_id in wanted:
                push_object(run_id, session, object_id, content.deflate())
        confirm(run_id, message.metadata.message_id)
    except (RunNotRunningException, httpx.HTTPError, RuntimeError):
        # Then the message is handled as any other, whose answer is tried again.
        return False
    return True


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
