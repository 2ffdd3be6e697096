"""A device of the least kind: enrols, polls the Fleet API with its key, and answers without training.

Its update follows from its number and the round, so that what a federation ends with is known.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import torch
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from client.live.call_signer import CallSigner
from shared_models import wire
from shared_models.bundle import PROTOCOL
from shared_models.join_code import JoinCode

ENROL, LEAVE = b"fedvoice-enrol\0", b"fedvoice-leave\0"


def new_key() -> ec.EllipticCurvePrivateKey:
    """A device's key pair."""
    return ec.generate_private_key(ec.SECP384R1())


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Its public half."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def proof(key: ec.EllipticCurvePrivateKey, content: bytes) -> str:
    """Its signature, in base64."""
    return base64.b64encode(key.sign(content, ec.ECDSA(hashes.SHA256()))).decode()


def https(ca: Path) -> httpx.Client:
    """A client that trusts this authority alone."""
    return httpx.Client(verify=ssl.create_default_context(cafile=str(ca)), timeout=30.0, trust_env=False)


def enrol(
    code: JoinCode, key: ec.EllipticCurvePrivateKey, ca: Path, version: str = "0.1.0", **changes: Any
) -> httpx.Response:
    """The enrolment request, with fields changed."""
    asked = {
        "secret": base64.b64encode(code.secret).decode(),
        "public_key": pem_of(key),
        "proof": proof(key, ENROL + code.secret),
        "name": "fake",
        "version": version,
        "protocol": PROTOCOL,
    }
    with https(ca) as client:
        return client.post(f"https://{code.address}/fedvoice/enrol", json=asked | changes)


def update_of(member: int, round_number: int, size: int) -> torch.Tensor:
    """What a fake device sends: small, and different for each member and round."""
    rng = torch.Generator().manual_seed(1000 * round_number + member)
    return torch.randn(size, generator=rng) * 1e-3


class FakeDevice(threading.Thread):
    """One device in a thread. ``pull`` is called with a message before it is answered, and may raise GoneError."""

    def __init__(
        self,
        address: str,
        ca: Path,
        key: ec.EllipticCurvePrivateKey,
        member: int,
        *,
        poll_seconds: float = 0.2,
        before_reply: Callable[[Message], None] | None = None,
    ) -> None:
        super().__init__(name=f"device {member}", daemon=True)
        self.member = member
        self.trained: list[int] = []
        self.problems: list[str] = []
        self.over = threading.Event()
        self._address, self._ca, self._key = address, ca, key
        self._poll = poll_seconds
        self._before_reply = before_reply or (lambda _: None)

    def client(self) -> FleetHttpClient:
        """Flower's own client, signing with this device's key."""
        return FleetHttpClient.from_server_address(
            self._address,
            False,
            self._ca.read_bytes(),
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(self._key, self._key.public_key()),
                CallSigner(lambda call: self._key.sign(call, ec.ECDSA(hashes.SHA256()))),
            ],
        )

    def run(self) -> None:
        while not self.over.is_set():
            try:
                with self.client() as client:
                    self._live(client)
            except (httpx.HTTPError, GoneError) as error:
                self.problems.append(f"{type(error).__name__}: {error}")
                self.over.wait(0.3)

    def stop(self) -> None:
        self.over.set()
        self.join(30)

    def _live(self, client: FleetHttpClient) -> None:
        asked = ActivateNodeRequest(public_key=pem_of(self._key).encode(), heartbeat_interval=30.0)
        with contextlib.suppress(httpx.HTTPStatusError):
            self._node_id = client.ActivateNode(asked).node_id
        self.node = Node(node_id=self._node_id)
        beat = 0.0
        while not self.over.is_set():
            if time.monotonic() - beat > 10.0:
                client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=30.0))
                beat = time.monotonic()
            answer = client.PullMessages(PullMessagesRequest(node=self.node))
            if not answer.messages_list:
                self.over.wait(self._poll)
                continue
            message = self._fetch(client, answer)
            self._before_reply(message)
            self.answer(client, message)

    def _fetch(self, client: FleetHttpClient, answer: Any) -> Message:
        described, tree = answer.messages_list[0], answer.message_object_trees[0]
        number, run = described.metadata.message_id, described.metadata.run_id
        contents = {}
        for branch in iterate_object_tree(tree):
            asked = PullObjectRequest(node=self.node, run_id=run, object_id=branch.object_id)
            while not (found := client.PullObject(asked)).object_available:
                time.sleep(0.02)
            contents[branch.object_id] = found.object_content
        client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(node=self.node, run_id=run, message_object_id=number)
        )
        message = inflate_object_from_contents(number, contents)
        assert isinstance(message, Message)
        message.metadata.__dict__["_message_id"] = number
        return message

    def answer(self, client: FleetHttpClient, message: Message, vector: torch.Tensor | None = None) -> None:
        """Reply with this device's update."""
        header = dict(message.content.config_records["header"])
        size, number = int(str(header["size"])), int(str(header["round"]))
        self.trained.append(number)
        update = update_of(self.member, number, size) if vector is None else vector
        told = {**header, "kind": "update"}
        for field in ("recipe", "seen"):
            told.pop(field, None)
        data = update.numpy().astype("<f4").tobytes()
        shared = ArrayRecord({"shared": Array(wire.DTYPE, (update.numel(),), wire.STYPE, data)})
        self.send(
            client, Message(RecordDict({"header": ConfigRecord(told), "shared": shared}), reply_to=message)
        )

    def send(self, client: FleetHttpClient, reply: Message) -> None:
        """Push a reply and its objects."""
        reply.metadata.__dict__["_message_id"] = reply.object_id
        objects = get_all_nested_objects(reply)
        answer = client.PushMessages(
            PushMessagesRequest(
                node=self.node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[0.0],
            )
        )
        for number in answer.objects_to_push:
            client.PushObject(
                PushObjectRequest(
                    node=self.node,
                    run_id=reply.metadata.run_id,
                    object_id=number,
                    object_content=objects[number].deflate(),
                    session_id=answer.session_id,
                )
            )


class GoneError(Exception):
    """Raised by ``before_reply``: the device dies with the message that it had pulled."""


@contextlib.contextmanager
def running(devices: list[FakeDevice]) -> Iterator[list[FakeDevice]]:
    """Devices that run within the block."""
    for device in devices:
        device.start()
    try:
        yield devices
    finally:
        for device in devices:
            device.over.set()
        for device in devices:
            device.join(30)
