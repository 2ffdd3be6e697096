"""The gate's parts for anybody: a device enrols, asks about its code, and leaves."""

from __future__ import annotations

import base64
import time
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fake_device import LEAVE, enrol, https, new_key, pem_of, proof
from gated_home import POPULATION, joined, last_refusal, url
from live_home import invited

from server.live.home import ServerHome
from server.live.registry import Registry
from shared_models.bundle import PROTOCOL
from shared_models.join_code import JoinCode

pytestmark = pytest.mark.slow


def test_a_device_enrols_once_and_a_lost_answer_is_given_again(home: ServerHome) -> None:
    key, code = new_key(), invited(home)
    first = enrol(code, key, home.path("ca.pem"))
    assert first.status_code == 200
    assert first.json()["run"] == "test"
    assert enrol(code, key, home.path("ca.pem")).json() == first.json()
    stranger = enrol(code, new_key(), home.path("ca.pem"))
    assert stranger.status_code == 403
    assert "used already" in stranger.json()["error"]
    assert last_refusal(home)["kind"] == "enrolment refused"
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
            assert client.post(url(home, "/fedvoice/enrol"), content=body).status_code == 403
    # None of it used the code up.
    assert enrol(code, new_key(), ca).status_code == 200


def test_a_join_code_is_asked_about_and_not_used_up(home: ServerHome) -> None:
    ca, code = home.path("ca.pem"), invited(home)

    def asked(code: JoinCode, **changes: Any) -> httpx.Response:
        fields = {"secret": base64.b64encode(code.secret).decode(), "version": "0.1.0", "protocol": PROTOCOL}
        with https(ca) as client:
            return client.post(url(home, "/fedvoice/inspect"), json=fields | changes)

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
    assert last_refusal(home)["kind"] == "join code refused"
    assert len(Registry(home.registry).devices()) == before
    key = new_key()
    assert enrol(code, key, ca).status_code == 200
    assert "used already" in asked(code).json()["error"]
    assert "used already" in asked(code, public_key=pem_of(new_key())).json()["error"]
    # The device that used it may have lost the answer.
    assert asked(code, public_key=pem_of(key)).status_code == 200
    assert "needs no other code" in asked(invited(home), public_key=pem_of(key)).json()["error"]


def test_leaving_takes_a_fresh_signature_and_ends_the_place(home: ServerHome) -> None:
    key, device = joined(home)

    def leave(stamp: str, signer: ec.EllipticCurvePrivateKey) -> httpx.Response:
        asked = {
            "public_key": pem_of(key),
            "timestamp": stamp,
            "proof": proof(signer, LEAVE + stamp.encode()),
        }
        with https(home.path("ca.pem")) as client:
            return client.post(url(home, "/fedvoice/leave"), json=asked)

    assert leave(str(time.time()), new_key()).status_code == 403
    assert leave(str(time.time() - 4000), key).status_code == 403
    assert leave("nan", key).status_code == 403
    assert leave(str(time.time()), key).status_code == 200
    assert device.member not in Registry(home.registry).roster()
