"""The gate's part for devices: whose calls reach Flower, and whose are told why they do not."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fake_device import FakeDevice, enrol, https, new_key, pem_of, proof
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from gated_home import admin, joined, last_refusal, url
from live_home import invited

from server.live.device_calls import FLEET_CALLS
from server.live.home import ServerHome
from server.live.registry import Registry
from shared_models.call_signature import body_digest, signed_content

pytestmark = pytest.mark.slow


def test_a_registered_key_gets_in_and_others_do_not(home: ServerHome) -> None:
    key, device = joined(home)
    with device.client() as client:
        node = client.ActivateNode(
            ActivateNodeRequest(public_key=pem_of(key).encode(), heartbeat_interval=30.0)
        ).node_id
        assert not client.PullMessages(PullMessagesRequest(node=Node(node_id=node))).messages_list
    strange = FakeDevice(home.settings().address, home.path("ca.pem"), new_key(), 0)
    with strange.client() as client, pytest.raises(httpx.HTTPStatusError, match="401"):
        client.PullMessages(PullMessagesRequest(node=Node(node_id=node)))
    assert last_refusal(home)["kind"] == "unregistered key"
    with https(home.path("ca.pem")) as plain:
        assert plain.post(url(home, "/v1/fleet/pull-messages"), content=b"").status_code == 401


def test_a_second_process_with_the_key_is_refused_while_the_first_lives(home: ServerHome) -> None:
    key, device = joined(home)
    asked = ActivateNodeRequest(public_key=pem_of(key).encode(), heartbeat_interval=30.0)
    with device.client() as first, device.client() as second:
        node = Node(node_id=first.ActivateNode(asked).node_id)
        first.PullMessages(PullMessagesRequest(node=node))
        with pytest.raises(httpx.HTTPStatusError, match="412"):
            second.ActivateNode(asked)
    assert last_refusal(home)["kind"] == "key in use"


class _Wire(httpx.BaseTransport):
    """Keeps the last request as it went over the wire: what whoever sees it could send again."""

    def __init__(self, ca: Path) -> None:
        self._plain = httpx.HTTPTransport(verify=ssl.create_default_context(cafile=str(ca)))
        self.last: httpx.Request | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.last = request
        return self._plain.handle_request(request)


@contextlib.contextmanager
def _captured(home: ServerHome, device: FakeDevice) -> Iterator[httpx.Request]:
    """A heartbeat of this device that was served, with all its headers."""
    node = Registry(home.registry).roster()[device.member]
    wire = _Wire(home.path("ca.pem"))
    with device.client() as client:
        client._client._transport = wire
        client._client._mounts = {}
        asked = ActivateNodeRequest(public_key=pem_of(device._key).encode(), heartbeat_interval=30.0)
        client.ActivateNode(asked)
        client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=30.0))
        assert wire.last is not None
        yield wire.last


def _sent_again(home: ServerHome, request: httpx.Request, **changes: Any) -> httpx.Response:
    headers = [(k, v) for k, v in request.headers.multi_items() if k not in ("host", "content-length")]
    with https(home.path("ca.pem")) as client:
        return client.request(
            changes.get("method", request.method),
            url(home, changes.get("path", request.url.path)),
            content=changes.get("body", request.content),
            headers=headers + changes.get("more", []),
        )


def test_a_captured_call_serves_no_other_and_not_twice(home: ServerHome) -> None:
    """Flower's signature covers a timestamp alone: with it, these headers made other calls for minutes."""
    _, device = joined(home)
    node = Node(node_id=Registry(home.registry).roster()[device.member])
    poll = PullMessagesRequest(node=node).SerializeToString()
    with _captured(home, device) as heard:
        for changes, kind in (
            ({}, "replayed call"),
            ({"path": "/v1/fleet/pull-messages", "body": poll}, "wrong signature"),
            ({"path": "/v1/fleet/pull-messages"}, "wrong signature"),
            ({"path": "/v1/fleet/send-node-heartbeat?x=1"}, "wrong signature"),
            ({"method": "PUT"}, "wrong signature"),
            ({"more": [("x-fedvoice-number", "1")]}, "repeated header"),
            ({"more": [("flwr-public-key", "AAAA")]}, "repeated header"),
        ):  # fmt: skip
            answer = _sent_again(home, heard, **changes)
            assert answer.status_code in (400, 401), (changes, answer.text)
            assert last_refusal(home)["kind"] == kind, changes


def _signed_headers(
    key: ec.EllipticCurvePrivateKey, path: str, body: bytes, **changes: Any
) -> dict[str, str]:
    """The headers of a call, as a device makes them, with some changed before (``signer``, ``number``, ``stamp``)
    or after signing (any header's name)."""
    number, signer = changes.pop("number", str(time.time_ns())), changes.pop("signer", key)
    stamp = changes.pop("stamp", datetime.datetime.now(datetime.UTC).isoformat())
    content = signed_content(changes.pop("session", ""), "POST", path, body_digest(body), number)
    return {
        "flwr-public-key": base64.b64encode(pem_of(key).encode()).decode(),
        "flwr-timestamp": stamp,
        "flwr-signature": proof(key, stamp.encode()),
        "x-fedvoice-session": "",
        "x-fedvoice-digest": body_digest(body),
        "x-fedvoice-number": number,
        "x-fedvoice-signature": proof(signer, content),
    } | changes  # fmt: skip


def test_a_body_that_was_not_signed_does_not_reach_flower(home: ServerHome) -> None:
    key, device = joined(home)
    node = Registry(home.registry).roster()[device.member]
    for call, body in (
        ("push-object", b"x" * 300_000),
        ("send-node-heartbeat", SendNodeHeartbeatRequest(node=Node(node_id=node)).SerializeToString()),
    ):
        path = f"/v1/fleet/{call}"
        with https(home.path("ca.pem")) as client:
            told = client.post(url(home, path), content=body, headers=_signed_headers(key, path, body))
            session = told.headers["x-fedvoice-session"]
            signed = _signed_headers(key, path, body, session=session, **{"x-fedvoice-session": session})
            answer = client.post(url(home, path), content=body[:-1] + b"y", headers=signed)
        assert answer.status_code == 401
        assert "not the one that the device signed" in answer.json()["error"]
        assert last_refusal(home)["kind"] == "altered body"


def test_stolen_and_old_signatures_are_refused(home: ServerHome) -> None:
    key, _ = joined(home)
    path = "/v1/fleet/activate-node"
    for changes, told in (
        ({"number": str(time.time_ns() - 1200 * 10**9)}, "replay"),
        ({"number": str(time.time_ns() + 60 * 10**9)}, "replay"),
        ({"signer": new_key()}, "not of this key"),
        ({"number": "soon"}, "unreadable"),
        ({"x-fedvoice-digest": "0" * 64}, "not of this key"),
        ({"x-fedvoice-digest": ""}, "unreadable"),
        ({"x-fedvoice-signature": "?"}, "base64"),
        ({"x-fedvoice-session": "0" * 32}, "not of this key"),
        ({}, "another start"),
    ):
        headers = _signed_headers(key, path, b"", **changes)
        with https(home.path("ca.pem")) as client:
            answer = client.post(url(home, path), content=b"", headers=headers)
        assert answer.status_code == 401
        assert told in answer.json()["error"]
    # Flower's signature alone, which was enough for most calls.
    headers = {name: value for name, value in headers.items() if name.startswith("flwr-")}
    for call in sorted(FLEET_CALLS):
        with https(home.path("ca.pem")) as client:
            answer = client.post(url(home, f"/v1/fleet/{call}"), content=b"", headers=headers)
        assert answer.status_code == 401, call
        assert "not signed as" in answer.json()["error"]


def test_nobody_answers_for_another(home: ServerHome) -> None:
    _, device = joined(home)
    _, other = joined(home)
    nodes = Registry(home.registry).roster()
    request = PushMessagesRequest(node=Node(node_id=nodes[device.member]))
    request.messages_list.add().metadata.src_node_id = nodes[other.member]
    with device.client() as client, pytest.raises(httpx.HTTPStatusError, match="403"):
        client.PushMessages(request)
    assert last_refusal(home)["kind"] == "forged sender"


def test_a_revoked_device_is_told_and_stays_out(home: ServerHome) -> None:
    key, device = joined(home)
    asked = ActivateNodeRequest(public_key=pem_of(key).encode(), heartbeat_interval=30.0)
    with device.client() as client:
        node = Node(node_id=client.ActivateNode(asked).node_id)
        with https(home.path("ca.pem")) as operator:
            answer = operator.post(
                url(home, "/fedvoice/revoke"), json={"device": str(device.member)}, headers=admin(home)
            )
        assert answer.status_code == 200, answer.text
        with pytest.raises(httpx.HTTPStatusError, match="403") as refused:
            client.PullMessages(PullMessagesRequest(node=node))
    assert "revoked" in refused.value.response.text
    assert device.member not in Registry(home.registry).roster()
    assert "withdrawn" in enrol(invited(home), key, home.path("ca.pem")).json()["error"]
