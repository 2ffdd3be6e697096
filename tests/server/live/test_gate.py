"""The gate before a real SuperLink: what is open and what is not, and what a connection may cost."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from fake_device import https
from gated_home import STRANGERS, admin, get, last_refusal, url
from open_files import open_to_others

from server.live.certificates import ensure_certificates
from server.live.home import ServerHome
from server.live.limits import Limits
from server.live.setup import invite

pytestmark = pytest.mark.slow


def test_another_authority_is_noticed(home: ServerHome, tmp_path: Path) -> None:
    ensure_certificates(tmp_path, "other", ["127.0.0.1"])
    with https(tmp_path / "ca.pem") as client, pytest.raises(httpx.ConnectError):
        client.get(url(home, "/health"))
    with pytest.raises(httpx.ConnectError):
        httpx.get(url(home, "/health"), trust_env=False)


def test_what_is_open_and_what_is_not(home: ServerHome) -> None:
    assert get(home, "/health").json() == {"status": "ok"}
    assert get(home, "/fedvoice/ca.pem").content == home.secret("ca.pem")
    for path in ("/", "/docs", "/openapi.json", "/v1/fleet/register-node", "/v1/fleet/unregister-node", "/v1/fleet/x",
                 "/v1/fleet/../control/list-runs", "/v1//control/list-runs", "/V1/control/list-runs"):  # fmt: skip
        assert get(home, path).status_code in (404, 401), path
    for path in (
        "/fedvoice/status",
        "/fedvoice/metrics",
        "/fedvoice/revoke",
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
    ):
        assert get(home, path).status_code == 401, path
        assert get(home, path, **{"x-fedvoice-admin": "0" * 64}).status_code == 401, path
    assert last_refusal(home)["kind"] == "not the operator"
    assert get(home, "/fedvoice/enrol").status_code == 405


def test_large_bodies_are_refused_before_they_are_read(home: ServerHome) -> None:
    with https(home.path("ca.pem")) as client:
        announced = client.post(url(home, "/fedvoice/enrol"), content=b"x" * 20_000)
    assert announced.status_code == 413
    # No Content-Length: counted while it comes. What still comes after the refusal is thrown away.
    superlink = next(p for p in psutil.Process().children() if "server.live.superlink" in p.cmdline())
    before = superlink.memory_info().rss

    def endless() -> Iterator[bytes]:
        for _ in range(3000):
            yield b"x" * 65536

    with https(home.path("ca.pem")) as client, contextlib.suppress(httpx.TransportError):
        assert client.post(url(home, "/fedvoice/enrol"), content=endless()).status_code == 413
    assert last_refusal(home)["kind"] == "too large"
    assert superlink.memory_info().rss - before < 100_000_000


def test_a_slow_sender_holds_nobody_up(home: ServerHome) -> None:
    host, port = home.settings().address.split(":")
    context = ssl.create_default_context(cafile=str(home.path("ca.pem")))
    with (
        socket.create_connection((host, int(port))) as raw,
        context.wrap_socket(raw, server_hostname=host) as slow,
    ):
        slow.sendall(b"POST /fedvoice/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        assert get(home, "/health").status_code == 200
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
    assert get(home, "/nowhere", **{"X-Forwarded-For": "203.0.113.9"}).status_code == 404
    assert last_refusal(home)["peer"] == "127.0.0.1"


def test_what_the_server_wrote_is_its_operators_alone(home: ServerHome) -> None:
    """The process was started with the most open of umasks; Flower's database knows nothing of modes."""
    home.path("gate.json").chmod(0o600)  # The operator's own, written by this test.
    assert home.path("superlink.db").exists()
    assert home.path("logs/superlink.log").exists()
    assert open_to_others(home.folder) == []


def test_too_many_requests_are_refused(home: ServerHome) -> None:
    trusted = ssl.create_default_context(cafile=str(home.path("ca.pem")))
    # From an address of its own: it uses up what strangers there may ask.
    elsewhere = httpx.HTTPTransport(verify=trusted, local_address="127.0.0.2")
    with httpx.Client(transport=elsewhere, timeout=30.0) as client:
        codes = [client.get(url(home, "/nothing")).status_code for _ in range(5)]
        assert codes == [404] * 5
        for _ in range(2 * STRANGERS):
            if client.get(url(home, "/health")).status_code == 429:
                break
        else:
            pytest.fail("nothing was refused")
    assert last_refusal(home)["peer"] == "127.0.0.2"
    # The operator, the devices and other addresses are not held up by it.
    assert get(home, "/fedvoice/status", **admin(home)).status_code == 200
    assert get(home, "/health").status_code == 200
    assert Limits().stranger.burst < STRANGERS
    assert len(invite(home, 2, 60.0)) == 2
