"""Many devices of the least kind in one process: they enrol, poll, and answer rounds without training.

Each has its own key and its own TLS connection, and asks what a SuperNode asks. What is left out is what costs the
device and not the server: training, and Flower's signature for every request, which is made anew every twenty
seconds. FedVoice's own covers the request, and is made for each.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import ssl
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, cast

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.task_identity import TaskIdentity

from server.live.flower_state import NODE_KEY_HEADER, NODE_SIGNATURE_HEADER, NODE_TIMESTAMP_HEADER
from server.live.signatures import ENROL
from shared_models import wire
from shared_models.bundle import PROTOCOL
from shared_models.call_signature import (
    DIGEST_HEADER,
    NUMBER_HEADER,
    SESSION_HEADER,
    SIGNATURE_HEADER,
    CallNumbers,
    body_digest,
    signed_content,
)
from shared_models.errors import ServiceError
from shared_models.join_code import JoinCode, host_and_port

_SIGN_SECONDS = 20.0
_HEARTBEAT_SECONDS = 25.0
_TYPE = "application/protobuf"
_CHUNK_BYTES = 1024 * 1024
"""Flower's chunks are larger than that."""


@dataclass(slots=True)
class Counts:
    """What the whole fleet asked, and how long the answers took."""

    requests: int = 0
    replies: int = 0
    failures: int = 0
    bytes_sent: int = 0
    seconds: list[float] = field(default_factory=list)


class Connection:
    """One device's keep-alive connection: plain HTTP/1.1 over TLS."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self._host, self._port = host_and_port(address)
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.session = ""
        """The server's session, once it said so."""

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body; a connection that ended is opened again once."""
        try:
            return await self._post(path, body, headers)
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            return await self._post(path, body, headers)

    async def close(self) -> None:
        """End it."""
        if self._streams is not None:
            with contextlib.suppress(OSError):
                self._streams[1].close()
        self._streams = None

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._context)
        reader, writer = self._streams
        lines = [f"POST {path} HTTP/1.1", f"host: {self._host}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if f"{SESSION_HEADER}:" in head:
            self.session = head.split(f"{SESSION_HEADER}:", 1)[1].split("\r\n", 1)[0].strip()
        status = int(head.split(" ", 2)[1])
        if "content-length:" in head:
            size = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
            return status, await reader.readexactly(size)
        content = b""
        while size := int(await reader.readline(), 16):
            content += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, content


class FleetDevice:
    """One device."""

    def __init__(self, code: JoinCode, context: ssl.SSLContext, counts: Counts) -> None:
        self._code, self._counts = code, counts
        self._key = ec.generate_private_key(ec.SECP384R1())
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self._pem = self._key.public_key().public_bytes(serialization.Encoding.PEM, form)
        self._connection = Connection(code.address, context)
        self._headers: dict[str, str] = {}
        self._signed_at = -_SIGN_SECONDS
        self._node = Node()
        self._session = ""
        self._numbers = CallNumbers()

    async def enrol(self) -> None:
        """Take a place. Raises :class:`ServiceError`."""
        asked = {
            "secret": base64.b64encode(self._code.secret).decode(),
            "public_key": self._pem.decode(),
            "proof": base64.b64encode(self._sign(ENROL + self._code.secret)).decode(),
            "name": "bench",
            "version": version("fedvoice"),
            "protocol": PROTOCOL,
        }
        status, answer = await self._connection.post("/fedvoice/enrol", json.dumps(asked).encode(), {})
        if status != 200:
            raise ServiceError(f"enrolling a device of the benchmark: {status} {answer.decode()[:200]}")

    async def live(self, poll_seconds: float, over: asyncio.Event) -> None:
        """Come online, then poll and answer until ``over``."""
        asked = ActivateNodeRequest(public_key=self._pem, heartbeat_interval=60.0)
        self._node = Node(node_id=(await self._call("activate-node", asked, ActivateNodeResponse())).node_id)
        beat = time.monotonic()
        while not over.is_set():
            if time.monotonic() - beat > _HEARTBEAT_SECONDS:
                beat = time.monotonic()
                alive = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=60.0)
                await self._call("send-node-heartbeat", alive, SendNodeHeartbeatResponse())
            pulled = await self._call(
                "pull-messages", PullMessagesRequest(node=self._node), PullMessagesResponse()
            )
            if pulled.messages_list:
                await self._answer(pulled)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), poll_seconds)
        await self._connection.close()

    async def _answer(self, pulled: PullMessagesResponse) -> None:
        described, tree = pulled.messages_list[0], pulled.message_object_trees[0]
        number, run = described.metadata.message_id, described.metadata.run_id
        contents = {}
        for branch in iterate_object_tree(tree):
            asked = PullObjectRequest(node=self._node, run_id=run, object_id=branch.object_id)
            while not (
                found := await self._call("pull-object", asked, PullObjectResponse())
            ).object_available:
                await asyncio.sleep(0.1)
            contents[branch.object_id] = found.object_content
        seen = ConfirmMessageReceivedRequest(node=self._node, run_id=run, message_object_id=number)
        await self._call("confirm-message-received", seen, ConfirmMessageReceivedResponse())
        message = cast("Message", inflate_object_from_contents(number, contents))
        message.metadata.__dict__["_message_id"] = number
        reply = self._reply(message)
        objects = get_all_nested_objects(reply)
        announced = PushMessagesRequest(
            node=self._node,
            messages_list=[message_to_proto(remove_content_from_message(reply))],
            message_object_trees=[get_object_tree(reply)],
            clientapp_runtime_list=[0.0],
        )
        wanted = await self._call("push-messages", announced, PushMessagesResponse())
        for name in wanted.objects_to_push:
            part = PushObjectRequest(
                node=self._node, run_id=run, object_id=name, object_content=objects[name].deflate(),
                session_id=wanted.session_id,
            )  # fmt: skip
            await self._call("push-object", part, PushObjectResponse())
        self._counts.replies += 1

    def _reply(self, message: Any) -> Message:
        # Flower's messages take their sender from here when they are made; nothing waits in between.
        TaskIdentity.run_id, TaskIdentity.task_id = message.metadata.run_id, 1
        TaskIdentity.node_id = self._node.node_id
        header = {**message.content.config_records["header"], "kind": "update"}
        for name in ("recipe", "seen"):
            header.pop(name, None)
        # Values of its own in every chunk that Flower cuts, so that no two devices' objects are one.
        numbers = bytearray(4 * int(header["size"]))
        own = self._node.node_id.to_bytes(8, "little")[:3]
        for start in range(0, len(numbers) - len(own), _CHUNK_BYTES):
            numbers[start : start + len(own)] = own
        shared = ArrayRecord({"shared": Array(wire.DTYPE, (len(numbers) // 4,), wire.STYPE, bytes(numbers))})
        content = RecordDict({"header": ConfigRecord(header), "shared": shared})
        reply = Message(content, reply_to=message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        return reply

    async def _call(self, call: str, request: Any, answer: Any) -> Any:
        body, started = request.SerializeToString(), time.monotonic()
        while True:
            path = f"/v1/fleet/{call}"
            status, content = await self._connection.post(path, body, self._signed(path, body))
            if status == 401 and self._connection.session not in ("", self._session):
                self._session = self._connection.session
                continue
            if status < 500 and status != 429:
                break
            self._counts.failures += 1
            await asyncio.sleep(0.5)
        if status != 200:
            raise ServiceError(f"{call} of a device of the benchmark: {status} {content[:200]!r}")
        self._counts.requests += 1
        self._counts.bytes_sent += len(body)
        self._counts.seconds.append(time.monotonic() - started)
        answer.ParseFromString(content)
        return answer

    def _signed(self, path: str, body: bytes) -> dict[str, str]:
        digest, number = body_digest(body), self._numbers.next()
        proof = self._sign(signed_content(self._session, "POST", path, digest, number))
        return {
            **self._flowers_headers(),
            SESSION_HEADER: self._session,
            DIGEST_HEADER: digest,
            NUMBER_HEADER: number,
            SIGNATURE_HEADER: base64.b64encode(proof).decode(),
        }

    def _flowers_headers(self) -> dict[str, str]:
        if time.monotonic() - self._signed_at > _SIGN_SECONDS:
            self._signed_at = time.monotonic()
            now = datetime.datetime.now(datetime.UTC).isoformat()
            self._headers = {
                **_version_headers(),
                "content-type": _TYPE,
                NODE_KEY_HEADER: base64.b64encode(self._pem).decode(),
                NODE_TIMESTAMP_HEADER: now,
                NODE_SIGNATURE_HEADER: base64.b64encode(self._sign(now.encode())).decode(),
            }
        return self._headers

    def _sign(self, content: bytes) -> bytes:
        return self._key.sign(content, ec.ECDSA(hashes.SHA256()))


def _version_headers() -> dict[str, str]:
    """What Flower's client says of its version."""
    request = httpx.Request("POST", "https://server/")
    context: Any = SimpleNamespace(request=request)
    answered = httpx.Response(200)
    RuntimeVersionHttpInterceptor(component_name="SuperNode").intercept(context, lambda _: answered)
    return {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
