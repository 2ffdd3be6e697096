"""The gate before a real SuperLink: who gets in, who does not, and what is told and logged of it."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fake_device import LEAVE, FakeDevice, enrol, https, new_key, pem_of, proof
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.runtime import RuntimeHttpClient
from live_home import invited, make_home
from open_files import open_to_others, umask
from tiny_federation import tiny_recipe

from server.live.certificates import ensure_certificates
from server.live.flower_run import TaskLostError, submit_run
from server.live.gate import _FLEET_CALLS
from server.live.home import ServerHome
from server.live.limits import Limits
from server.live.registry import Registry
from server.live.setup import invite
from server.live.supervisor import Supervisor
from shared_models.bundle import PROTOCOL, bundle, bundle_hash
from shared_models.call_signature import body_digest, signed_content
from shared_models.join_code import JoinCode
from shared_models.supervision import last_lines

POPULATION = 40


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHome]:
    """A home whose SuperLink runs, with a large allowance for strangers (all tests share one address)."""
    made = make_home(tmp_path_factory.mktemp("server") / "home", tiny_recipe(), POPULATION)
    made.path("gate.json").write_text(json.dumps({"stranger_burst": 400, "head_seconds": 3}))
    supervisor = Supervisor(made)
    with umask(0):
        supervisor.superlink.start()
    try:
        supervisor.wait_until_healthy()
        yield made
    finally:
        supervisor.superlink.stop()


def _url(home: ServerHome, path: str) -> str:
    return f"https://{home.settings().address}{path}"


def _get(home: ServerHome, path: str, **headers: str) -> httpx.Response:
    with https(home.path("ca.pem")) as client:
        return client.get(_url(home, path), headers=headers)


def _admin(home: ServerHome) -> dict[str, str]:
    return {"x-fedvoice-admin": home.secret("admin.token").decode()}


def _last_refusal(home: ServerHome) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(last_lines(home.path("refusals.jsonl"), 1)[0])
    return entry


def _joined(home: ServerHome) -> tuple[ec.EllipticCurvePrivateKey, FakeDevice]:
    key = new_key()
    answer = enrol(invited(home), key, home.path("ca.pem"))
    assert answer.status_code == 200, answer.text
    return key, FakeDevice(home.settings().address, home.path("ca.pem"), key, answer.json()["member"])


def test_a_device_enrols_once_and_a_lost_answer_is_given_again(home: ServerHome) -> None:
    key, code = new_key(), invited(home)
    first = enrol(code, key, home.path("ca.pem"))
    assert first.status_code == 200
    assert first.json()["run"] == "test"
    assert enrol(code, key, home.path("ca.pem")).json() == first.json()
    stranger = enrol(code, new_key(), home.path("ca.pem"))
    assert stranger.status_code == 403
    assert "used already" in stranger.json()["error"]
    assert _last_refusal(home)["kind"] == "enrolment refused"
    assert Registry(home.registry).roster()[first.json()["member"]] == int(first.json()["node_id"])


def test_enrolment_is_refused_with_the_reason(home: ServerHome) -> None:
    ca, code = home.path("ca.pem"), invited(home)
    unknown = JoinCode.new(code.address, code.fingerprint, 60.0)
    assert "does not know" in enrol(unknown, new_key(), ca).json()["error"]
    expired = invited(home, lifetime_seconds=-1.0)
    assert "expired" in enrol(expired, new_key(), ca).json()["error"]
    other = proof(new_key(), b"fedvoice-enrol\0" + code.secret)
    assert "proof" in enrol(code, new_key(), ca, proof=other).json()["error"]
    assert (
        "install fedvoice 0.1.0 in its place" in enrol(code, new_key(), ca, version="0.0.1").json()["error"]
    )
    assert "install fedvoice 0.1.0 in its place" in enrol(code, new_key(), ca, protocol=99).json()["error"]
    small = ec.generate_private_key(ec.SECP256R1())
    assert "P-384" in enrol(code, small, ca).json()["error"]
    for nonsense in ({"secret": 3}, {"public_key": "x"}, {"proof": None}):
        assert enrol(code, new_key(), ca, **nonsense).status_code == 403
    with https(ca) as client:
        for body in (b"", b"[]", b"{", b"\xff" * 100, b"[" * 10_000):
            assert client.post(_url(home, "/fedvoice/enrol"), content=body).status_code == 403
    # None of it used the code up.
    assert enrol(code, new_key(), ca).status_code == 200


def test_a_join_code_is_asked_about_and_not_used_up(home: ServerHome) -> None:
    ca, code = home.path("ca.pem"), invited(home)

    def asked(code: JoinCode, **changes: Any) -> httpx.Response:
        fields = {"secret": base64.b64encode(code.secret).decode(), "version": "0.1.0", "protocol": PROTOCOL}
        with https(ca) as client:
            return client.post(_url(home, "/fedvoice/inspect"), json=fields | changes)

    for _ in range(3):
        told = asked(code).json()
        assert {name: told[name] for name in ("federation", "protocol", "population")} == {
            "federation": "test", "protocol": PROTOCOL, "population": POPULATION,
        }  # fmt: skip
    before = len(Registry(home.registry).devices())
    for wrong, told in (
        (asked(JoinCode.new(code.address, code.fingerprint, 60.0)), "does not know"),
        (asked(invited(home, lifetime_seconds=-1.0)), "expired"),
        (asked(code, version="0.0.1"), "install fedvoice 0.1.0"),
        (asked(code, secret="AAAA"), "secret"),
        (asked(code, secret=None), "secret"),
        (asked(code, secret="?"), "base64"),
        (asked(code, public_key="x"), "PEM"),
    ):
        assert wrong.status_code == 403
        assert told in wrong.json()["error"]
        assert "test" not in wrong.json()
    assert _last_refusal(home)["kind"] == "join code refused"
    assert len(Registry(home.registry).devices()) == before
    key = new_key()
    assert enrol(code, key, ca).status_code == 200
    assert "used already" in asked(code).json()["error"]
    assert "used already" in asked(code, public_key=pem_of(new_key())).json()["error"]
    # The device that used it may have lost the answer.
    assert asked(code, public_key=pem_of(key)).status_code == 200
    assert "needs no other code" in asked(invited(home), public_key=pem_of(key)).json()["error"]


def test_another_authority_is_noticed(home: ServerHome, tmp_path: Path) -> None:
    ensure_certificates(tmp_path, "other", ["127.0.0.1"])
    with https(tmp_path / "ca.pem") as client, pytest.raises(httpx.ConnectError):
        client.get(_url(home, "/health"))
    with pytest.raises(httpx.ConnectError):
        httpx.get(_url(home, "/health"), trust_env=False)


def test_what_is_open_and_what_is_not(home: ServerHome) -> None:
    assert _get(home, "/health").json() == {"status": "ok"}
    assert _get(home, "/fedvoice/ca.pem").content == home.secret("ca.pem")
    for path in ("/", "/docs", "/openapi.json", "/v1/fleet/register-node", "/v1/fleet/unregister-node", "/v1/fleet/x",
                 "/v1/fleet/../control/list-runs", "/v1//control/list-runs", "/V1/control/list-runs"):  # fmt: skip
        assert _get(home, path).status_code in (404, 401), path
    for path in (
        "/fedvoice/status",
        "/fedvoice/metrics",
        "/fedvoice/revoke",
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
    ):
        assert _get(home, path).status_code == 401, path
        assert _get(home, path, **{"x-fedvoice-admin": "0" * 64}).status_code == 401, path
    assert _last_refusal(home)["kind"] == "not the operator"
    assert _get(home, "/fedvoice/enrol").status_code == 405


def test_nobody_but_the_operator_submits_code(home: ServerHome) -> None:
    """What ``flwr run`` sends, and what a foreign SuperExec asks for."""
    ca = home.secret("ca.pem")
    run = StartRunRequest(fab=Fab(hash_str=bundle_hash(), content=bundle()))
    control = ControlHttpClient.from_server_address(home.settings().address, False, ca, [])
    runtime = RuntimeHttpClient.from_server_address(home.settings().address, False, ca, [])
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        control.StartRun(run)
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        runtime.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"]))
    control.close()
    runtime.close()


def test_not_even_the_operator_submits_code(home: ServerHome) -> None:
    control = home.link().control()
    try:
        for content in (b"PK anything", bundle()[:-1], b""):
            with pytest.raises(TaskLostError, match="no run but FedVoice's own"):
                control.StartRun(StartRunRequest(fab=Fab(hash_str=bundle_hash(), content=content)))
            assert _last_refusal(home)["kind"] == "foreign run"
    finally:
        control.close()


def test_flowers_own_command_works_beside_it(home: ServerHome, tmp_path: Path) -> None:
    """As ``docs/operator.md`` says: with the token through ``fedvoice serve flwr``, and not without."""

    def asked(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command], env={**os.environ, **environment}, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip

    def ours(*arguments: str) -> subprocess.CompletedProcess[str]:
        return asked("simulations.cli", "serve", "flwr", "--home", str(home.folder), *arguments)

    submit_run(home.link(), bundle(), bundle_hash())
    runs = ours("ls", "--format", "json")
    assert runs.returncode == 0, runs.stderr
    assert [run["fab-id"] for run in json.loads(runs.stdout)["runs"]] == ["fedvoice/fedvoice-live"]
    run = json.loads(runs.stdout)["runs"][0]["run-id"]
    nodes = ours("supernode", "list", "--format", "json")
    assert len(json.loads(nodes.stdout)["nodes"]) == len(Registry(home.registry).roster())
    assert ours("stop", str(run)).returncode == 0
    assert "finished:stopped" in ours("ls", "--format", "json").stdout
    assert "has no place here" in ours("run", ".").stderr
    # Flower's command alone finds the server, and is turned away.
    (tmp_path / "config.toml").write_text(home.path("flwr/config.toml").read_text())
    alone = asked("flwr.cli.app", "ls", FLWR_HOME=str(tmp_path))
    assert alone.returncode != 0
    assert _last_refusal(home)["kind"] == "not the operator"
    assert open_to_others(home.path("flwr")) == []


def test_large_bodies_are_refused_before_they_are_read(home: ServerHome) -> None:
    with https(home.path("ca.pem")) as client:
        announced = client.post(_url(home, "/fedvoice/enrol"), content=b"x" * 20_000)
    assert announced.status_code == 413
    # No Content-Length: counted while it comes. What still comes after the refusal is thrown away.
    superlink = next(p for p in psutil.Process().children() if "server.live.superlink" in p.cmdline())
    before = superlink.memory_info().rss

    def endless() -> Iterator[bytes]:
        for _ in range(3000):
            yield b"x" * 65536

    with https(home.path("ca.pem")) as client, contextlib.suppress(httpx.TransportError):
        assert client.post(_url(home, "/fedvoice/enrol"), content=endless()).status_code == 413
    assert _last_refusal(home)["kind"] == "too large"
    assert superlink.memory_info().rss - before < 100_000_000


def test_a_registered_key_gets_in_and_others_do_not(home: ServerHome) -> None:
    key, device = _joined(home)
    with device.client() as client:
        node = client.ActivateNode(
            ActivateNodeRequest(public_key=pem_of(key).encode(), heartbeat_interval=30.0)
        ).node_id
        assert not client.PullMessages(PullMessagesRequest(node=Node(node_id=node))).messages_list
    strange = FakeDevice(home.settings().address, home.path("ca.pem"), new_key(), 0)
    with strange.client() as client, pytest.raises(httpx.HTTPStatusError, match="401"):
        client.PullMessages(PullMessagesRequest(node=Node(node_id=node)))
    assert _last_refusal(home)["kind"] == "unregistered key"
    with https(home.path("ca.pem")) as plain:
        assert plain.post(_url(home, "/v1/fleet/pull-messages"), content=b"").status_code == 401


def test_a_second_process_with_the_key_is_refused_while_the_first_lives(home: ServerHome) -> None:
    key, device = _joined(home)
    asked = ActivateNodeRequest(public_key=pem_of(key).encode(), heartbeat_interval=30.0)
    with device.client() as first, device.client() as second:
        node = Node(node_id=first.ActivateNode(asked).node_id)
        first.PullMessages(PullMessagesRequest(node=node))
        with pytest.raises(httpx.HTTPStatusError, match="412"):
            second.ActivateNode(asked)
    assert _last_refusal(home)["kind"] == "key in use"


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
            _url(home, changes.get("path", request.url.path)),
            content=changes.get("body", request.content),
            headers=headers + changes.get("more", []),
        )


def test_a_captured_call_serves_no_other_and_not_twice(home: ServerHome) -> None:
    """Flower's signature covers a timestamp alone: with it, these headers made other calls for minutes."""
    _, device = _joined(home)
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
            assert _last_refusal(home)["kind"] == kind, changes


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
    key, device = _joined(home)
    node = Registry(home.registry).roster()[device.member]
    for call, body in (
        ("push-object", b"x" * 300_000),
        ("send-node-heartbeat", SendNodeHeartbeatRequest(node=Node(node_id=node)).SerializeToString()),
    ):
        path = f"/v1/fleet/{call}"
        with https(home.path("ca.pem")) as client:
            told = client.post(_url(home, path), content=body, headers=_signed_headers(key, path, body))
            session = told.headers["x-fedvoice-session"]
            signed = _signed_headers(key, path, body, session=session, **{"x-fedvoice-session": session})
            answer = client.post(_url(home, path), content=body[:-1] + b"y", headers=signed)
        assert answer.status_code == 401
        assert "not the one that the device signed" in answer.json()["error"]
        assert _last_refusal(home)["kind"] == "altered body"


def test_stolen_and_old_signatures_are_refused(home: ServerHome) -> None:
    key, _ = _joined(home)
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
            answer = client.post(_url(home, path), content=b"", headers=headers)
        assert answer.status_code == 401
        assert told in answer.json()["error"]
    # Flower's signature alone, which was enough for most calls.
    headers = {name: value for name, value in headers.items() if name.startswith("flwr-")}
    for call in sorted(_FLEET_CALLS):
        with https(home.path("ca.pem")) as client:
            answer = client.post(_url(home, f"/v1/fleet/{call}"), content=b"", headers=headers)
        assert answer.status_code == 401, call
        assert "not signed as" in answer.json()["error"]


def test_nobody_answers_for_another(home: ServerHome) -> None:
    _, device = _joined(home)
    _, other = _joined(home)
    nodes = Registry(home.registry).roster()
    request = PushMessagesRequest(node=Node(node_id=nodes[device.member]))
    request.messages_list.add().metadata.src_node_id = nodes[other.member]
    with device.client() as client, pytest.raises(httpx.HTTPStatusError, match="403"):
        client.PushMessages(request)
    assert _last_refusal(home)["kind"] == "forged sender"


def test_a_revoked_device_is_told_and_stays_out(home: ServerHome) -> None:
    key, device = _joined(home)
    asked = ActivateNodeRequest(public_key=pem_of(key).encode(), heartbeat_interval=30.0)
    with device.client() as client:
        node = Node(node_id=client.ActivateNode(asked).node_id)
        with https(home.path("ca.pem")) as operator:
            answer = operator.post(
                _url(home, "/fedvoice/revoke"), json={"device": str(device.member)}, headers=_admin(home)
            )
        assert answer.status_code == 200, answer.text
        with pytest.raises(httpx.HTTPStatusError, match="403") as refused:
            client.PullMessages(PullMessagesRequest(node=node))
    assert "revoked" in refused.value.response.text
    assert device.member not in Registry(home.registry).roster()
    assert "withdrawn" in enrol(invited(home), key, home.path("ca.pem")).json()["error"]


def test_leaving_takes_a_fresh_signature_and_ends_the_place(home: ServerHome) -> None:
    key, device = _joined(home)

    def leave(stamp: str, signer: ec.EllipticCurvePrivateKey) -> httpx.Response:
        asked = {
            "public_key": pem_of(key),
            "timestamp": stamp,
            "proof": proof(signer, LEAVE + stamp.encode()),
        }
        with https(home.path("ca.pem")) as client:
            return client.post(_url(home, "/fedvoice/leave"), json=asked)

    assert leave(str(time.time()), new_key()).status_code == 403
    assert leave(str(time.time() - 4000), key).status_code == 403
    assert leave("nan", key).status_code == 403
    assert leave(str(time.time()), key).status_code == 200
    assert device.member not in Registry(home.registry).roster()


def test_metrics_and_status_are_the_operators(home: ServerHome) -> None:
    text = _get(home, "/fedvoice/metrics", **_admin(home)).text
    assert "# TYPE fedvoice_refusals_total counter" in text
    for line in text.splitlines():
        assert line.startswith("#") or line.rsplit(" ", 1)[1].replace(".", "").isdigit(), line
    data = _get(home, "/fedvoice/status", **_admin(home)).json()
    assert data["rounds"] == 0 or data["rounds"] == 3


def test_a_slow_sender_holds_nobody_up(home: ServerHome) -> None:
    host, port = home.settings().address.split(":")
    context = ssl.create_default_context(cafile=str(home.path("ca.pem")))
    with (
        socket.create_connection((host, int(port))) as raw,
        context.wrap_socket(raw, server_hostname=host) as slow,
    ):
        slow.sendall(b"POST /fedvoice/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        assert _get(home, "/health").status_code == 200
        slow.settimeout(60.0)
        assert b"408" in slow.recv(200)


def _tls(home: ServerHome) -> ssl.SSLSocket:
    host, port = home.settings().address.split(":")
    context = ssl.create_default_context(cafile=str(home.path("ca.pem")))
    return context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)


def _ended_after(connection: socket.socket, started: float, drip: bytes = b"") -> float:
    """Seconds until the server ended this connection, which is given one byte of ``drip`` every half second."""
    connection.settimeout(0.5)
    waiting = iter(drip)
    while time.monotonic() - started < 30:
        try:
            if connection.recv(100) == b"":
                return time.monotonic() - started
        except TimeoutError:
            byte = next(waiting, None)
            if byte is None:
                continue
            with contextlib.suppress(OSError):
                connection.sendall(bytes([byte]))
        except OSError:
            return time.monotonic() - started
    return float("inf")


def test_who_says_nothing_or_too_slowly_is_not_waited_for(home: ServerHome) -> None:
    """The gate's own limit is 20 s; here it is 3 s."""
    head = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100
    with _tls(home) as silent:
        assert 2 < _ended_after(silent, time.monotonic()) < 8
    with _tls(home) as slow:
        assert 2 < _ended_after(slow, time.monotonic(), drip=head) < 8
    host, port = home.settings().address.split(":")
    # No handshake: it connects, and says nothing.
    with socket.create_connection((host, int(port))) as mute:
        assert 2 < _ended_after(mute, time.monotonic()) < 8
    with _tls(home) as again:
        again.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in again.recv(1000)
        assert 2 < _ended_after(again, time.monotonic(), drip=head) < 8


def test_forwarded_addresses_count_from_no_one_here(home: ServerHome) -> None:
    assert _get(home, "/nowhere", **{"X-Forwarded-For": "203.0.113.9"}).status_code == 404
    assert _last_refusal(home)["peer"] == "127.0.0.1"


def test_what_the_server_wrote_is_its_operators_alone(home: ServerHome) -> None:
    """The process was started with the most open of umasks; Flower's database knows nothing of modes."""
    home.path("gate.json").chmod(0o600)  # The operator's own, written by this test.
    assert home.path("superlink.db").exists()
    assert home.path("logs/superlink.log").exists()
    assert open_to_others(home.folder) == []


def test_too_many_requests_are_refused(home: ServerHome) -> None:
    """Last in this file: it uses up what strangers at this address may ask."""
    codes = [_get(home, "/nothing").status_code for _ in range(5)]
    assert codes == [404] * 5
    with https(home.path("ca.pem")) as client:
        for _ in range(2 * 400):
            if client.get(_url(home, "/health")).status_code == 429:
                break
        else:
            pytest.fail("nothing was refused")
    # The operator and the devices are not held up by it.
    assert _get(home, "/fedvoice/status", **_admin(home)).status_code == 200
    assert Limits().stranger.burst < 400
    assert len(invite(home, 2, 60.0)) == 2
