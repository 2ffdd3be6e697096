"""The device signs each call whole, and anew for a server that started again."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from client.live.call_signer import CallSigner
from server.live.signatures import call_problem
from shared_models.call_signature import (
    DIGEST_HEADER,
    NUMBER_HEADER,
    SESSION_HEADER,
    CallNumbers,
    body_digest,
)


class _Server:
    """Answers as the gate does, and keeps what it was asked."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.session, self.asked, self._key = "a" * 32, [], key  # type: ignore[var-annotated]

    def __call__(self, context: Any) -> httpx.Response:
        request: httpx.Request = context.request
        headers = {name: value.encode() for name, value in request.headers.items()}
        target = request.url.raw_path.decode()
        assert call_problem(self._key.public_key(), request.method, target, headers) is None
        self.asked.append(dict(request.headers))
        if request.headers[SESSION_HEADER] != self.session:
            return httpx.Response(401, headers={SESSION_HEADER: self.session})
        return httpx.Response(200)


def _call(body: bytes) -> Any:
    return SimpleNamespace(
        request=httpx.Request("POST", "https://server/v1/fleet/pull-messages?a=b", content=body)
    )


def test_a_call_is_signed_for_the_servers_session_and_anew_after_a_restart() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    server, signer = _Server(key), CallSigner(lambda call: key.sign(call, ec.ECDSA(hashes.SHA256())))
    assert signer.intercept(_call(b"one"), server).status_code == 200
    assert len(server.asked) == 2, "the session was learnt from the first refusal"
    assert signer.intercept(_call(b"two"), server).status_code == 200
    assert len(server.asked) == 3
    server.session = "b" * 32
    assert signer.intercept(_call(b"two"), server).status_code == 200
    assert len(server.asked) == 5
    assert server.asked[-1][DIGEST_HEADER] == body_digest(b"two")
    assert len({asked[NUMBER_HEADER] for asked in server.asked}) == 5


def test_a_refusal_that_names_the_same_session_is_not_asked_again() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    signer, calls = CallSigner(lambda call: key.sign(call, ec.ECDSA(hashes.SHA256()))), []

    def refusing(context: Any) -> httpx.Response:
        calls.append(context)
        return httpx.Response(401, headers={SESSION_HEADER: "a" * 32})

    assert signer.intercept(_call(b""), refusing).status_code == 401
    assert len(calls) == 2
    assert signer.intercept(_call(b""), refusing).status_code == 401
    assert len(calls) == 3


def test_numbers_are_never_the_same_whatever_the_clock_and_threads_do(monkeypatch: Any) -> None:
    numbers, found = CallNumbers(), []
    clock = iter([5, 5, 3, 9, *[9] * 4000])
    monkeypatch.setattr("shared_models.call_signature.time.time_ns", lambda: next(clock))
    threads = [
        threading.Thread(target=lambda: found.extend(int(numbers.next()) for _ in range(500)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4000
