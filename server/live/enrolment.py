"""Asking about a join code, enrolling and leaving: the requests that FedVoice adds to Flower's server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from server.live.home import Settings
from server.live.registry import Registered, Registry
from server.live.signatures import CLOCK_SECONDS, ENROL, LEAVE, from_base64, proves, public_key
from shared_models.bundle import PROTOCOL
from shared_models.errors import EnrolmentError
from shared_models.join_code import SECRET_BYTES
from shared_models.shown_text import name_problem, shown


def enrol(
    body: bytes, settings: Settings, registry: Registry, version: str, node_for: Callable[[bytes, str], int]
) -> dict[str, Any]:
    """Answer one enrolment request. Raises :class:`EnrolmentError` with the sentence for the device's owner."""
    asked = _fields(body)
    theirs = _fitting_version(asked, version)
    secret = from_base64(asked.get("secret"))
    key, pem = public_key(str(asked.get("public_key", "")))
    if len(secret) != SECRET_BYTES or not proves(key, from_base64(asked.get("proof")), ENROL + secret):
        raise EnrolmentError("the proof is not this key's signature of the join code's secret")
    device = registry.enrol(secret, pem, _name(asked.get("name")), theirs, settings.population, node_for)
    return {
        "member": device.member,
        "federation": settings.name,
        "node_id": str(device.node_id),
        "run": settings.run,
        "protocol": PROTOCOL,
    }


def invitation(body: bytes, settings: Settings, registry: Registry, version: str) -> dict[str, Any]:
    """Answer whoever asks what a join code opens, before anything is prepared for it; nothing is used up.

    Only who has the code's secret is told the federation's name. Raises the :class:`EnrolmentError` that enrolling
    would raise.
    """
    asked = _fields(body)
    _fitting_version(asked, version)
    secret = from_base64(asked.get("secret"))
    if len(secret) != SECRET_BYTES:
        raise EnrolmentError("the request does not hold a join code's secret")
    key = asked.get("public_key")
    pem = None if key is None else public_key(str(key))[1]
    registry.check(secret, pem, settings.population)
    return {"federation": settings.name, "protocol": PROTOCOL}


def leave(body: bytes, registry: Registry) -> Registered:
    """Answer one request to leave: the device's place and key end. Raises :class:`EnrolmentError`."""
    asked = _fields(body)
    key, pem = public_key(str(asked.get("public_key", "")))
    timestamp = str(asked.get("timestamp", ""))
    try:
        age = time.time() - float(timestamp)
    except ValueError:
        raise EnrolmentError("the timestamp is no Unix time") from None
    if not abs(age) <= CLOCK_SECONDS:
        raise EnrolmentError(f"the request is {age:.0f} s old: check the device's clock")
    if not proves(key, from_base64(asked.get("proof")), LEAVE + timestamp.encode()):
        raise EnrolmentError("the proof is not this key's signature of the time")
    device = registry.withdraw(pem, "left")
    if device is None:
        raise EnrolmentError("no device with this key has joined here")
    return device


def _fitting_version(asked: dict[str, Any], version: str) -> str:
    theirs = str(asked.get("version", ""))[:32]
    if asked.get("protocol") != PROTOCOL or theirs != version:
        raise EnrolmentError(
            f"the server runs fedvoice {version}, this device has {shown(theirs)}: install fedvoice {version} in "
            "its place"
        )
    return theirs


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise EnrolmentError("the request is not a JSON object")
    return fields


def _name(asked: object) -> str:
    # Shown in the operator's terminal and told apart by it: what cannot be seen could forge what it says.
    if not isinstance(asked, str):
        raise EnrolmentError("the device's name is missing: join with --name NAME")
    if problem := name_problem(asked):
        raise EnrolmentError(f"this cannot be a device's name: {problem}; join with another --name")
    return asked
