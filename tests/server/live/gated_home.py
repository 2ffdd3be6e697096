"""Asking the gate of a home whose SuperLink runs (the fixture ``home``)."""

from __future__ import annotations

import json
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from fake_device import FakeDevice, enrol, https, new_key
from live_home import invited

from server.live.home import ServerHome
from shared_models.supervision import last_lines

POPULATION = 40
STRANGERS = 400
"""What one address may ask at once; all tests but one share an address."""


def url(home: ServerHome, path: str) -> str:
    """Where the gate answers this path."""
    return f"https://{home.settings().address}{path}"


def get(home: ServerHome, path: str, **headers: str) -> httpx.Response:
    """Its answer to a GET."""
    with https(home.path("ca.pem")) as client:
        return client.get(url(home, path), headers=headers)


def admin(home: ServerHome) -> dict[str, str]:
    """The operator's header."""
    return {"x-fedvoice-admin": home.secret("admin.token").decode()}


def last_refusal(home: ServerHome) -> dict[str, Any]:
    """What was refused last."""
    entry: dict[str, Any] = json.loads(last_lines(home.path("refusals.jsonl"), 1)[0])
    return entry


def joined(home: ServerHome) -> tuple[ec.EllipticCurvePrivateKey, FakeDevice]:
    """A new device with a place, and its key."""
    key = new_key()
    answer = enrol(invited(home), key, home.path("ca.pem"))
    assert answer.status_code == 200, answer.text
    return key, FakeDevice(home.settings().address, home.path("ca.pem"), key, answer.json()["member"])
