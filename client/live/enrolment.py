"""The device's half of enrolling, and of leaving.

The join code names the server and its CA certificate's fingerprint. The certificate is fetched without
verification, compared with the fingerprint, and from then on nothing is said to a server that it does not
vouch for.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import time
from email.utils import parsedate_to_datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from client.live.home import Membership
from client.live.keys import ENROL, LEAVE, DeviceKey
from client.live.wrong_certificate import shows_wrong_certificate
from shared_models.bundle import PROTOCOL
from shared_models.errors import EnrolmentError, ServiceError
from shared_models.files import write_atomically
from shared_models.join_code import JoinCode
from shared_models.shown_text import name_problem

SECONDS = 30.0
_LARGEST_ANSWER = 64 * 1024
# Flower accepts a signed time that is 5 s ahead of the server's, or 5 minutes behind.
_MOST_AHEAD, _MOST_BEHIND = 5.0, 300.0


def refuse_name(name: str) -> None:
    """Raise :class:`EnrolmentError` for what can be no device's name, as the server would."""
    if problem := name_problem(name):
        raise EnrolmentError(f"this cannot be a device's name: {problem}; choose another --name")


def enrol(code: JoinCode, home: Path, name: str, *, seconds: float = SECONDS) -> Membership:
    """Make this home a member of the code's federation; asking again with the same code changes nothing.

    Raises :class:`EnrolmentError` with what is wrong: another server than the code names, a code that was used
    by another device, a version that does not fit; :class:`ServiceError` if the server cannot be reached.
    """
    refuse_name(name)
    certificate = fetch_certificate(code, seconds)
    write_atomically(home / "ca.pem", certificate)
    key = DeviceKey.of(home)
    asked = {
        "secret": base64.b64encode(code.secret).decode(),
        "public_key": key.public_pem,
        "proof": base64.b64encode(key.prove(ENROL, code.secret)).decode(),
        "name": name,
        "version": installed("fedvoice"),
        "protocol": PROTOCOL,
    }
    answer = ask(code.address, "/fedvoice/enrol", asked, certificate, seconds)
    try:
        membership = Membership(
            server=code.address,
            member=int(answer["member"]),
            node_id=int(answer["node_id"]),
            federation=str(answer["federation"]),
            run=str(answer["run"]),
            name=name,
        )
        if name_problem(membership.federation):
            raise ValueError(membership.federation)
    except (KeyError, TypeError, ValueError):
        raise another_version(code.address) from None
    membership.save(home)
    return membership


def leave(home: Path, *, seconds: float = SECONDS) -> Membership:
    """Take this device out of its federation. Recordings, personal voice and ledger stay where they are.

    Raises :class:`EnrolmentError` where it never joined or the server refuses.
    """
    membership, key = Membership.load(home), DeviceKey.load(home)
    timestamp = str(int(time.time()))
    proof = key.prove(LEAVE, timestamp.encode())
    asked = {
        "public_key": key.public_pem,
        "timestamp": timestamp,
        "proof": base64.b64encode(proof).decode(),
    }
    ask(membership.server, "/fedvoice/leave", asked, _kept_certificate(home), seconds)
    return membership


def clock_problem(date_header: str, *, now: float | None = None) -> str | None:
    """What is wrong with this device's clock, judged by a server's Date header; None if it will do."""
    try:
        theirs = parsedate_to_datetime(date_header).timestamp()
    except (TypeError, ValueError):
        return None
    ahead = (time.time() if now is None else now) - theirs
    if -_MOST_BEHIND <= ahead <= _MOST_AHEAD:
        return None
    way = "ahead of" if ahead > 0 else "behind"
    return (
        f"this device's clock is {_spoken(abs(ahead))} {way} the server's, so that its signatures are refused: "
        "set the clock (most systems do so with network time switched on)"
    )


def _spoken(seconds: float) -> str:
    for unit, size in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}s"
    return f"{seconds:.0f} seconds"


def fetch_certificate(code: JoinCode, seconds: float) -> bytes:
    """The CA certificate of the code's server as PEM, if it is the one that the code names."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    response = _request("GET", code.address, "/fedvoice/ca.pem", unverified, seconds)
    try:
        certificate = x509.load_pem_x509_certificate(response.content)
    except ValueError:
        raise EnrolmentError(f"{code.address} is no FedVoice server: it gave no CA certificate") from None
    if hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest() != code.fingerprint:
        raise EnrolmentError(
            f"the server at {code.address} is not the one that the join code names (its CA certificate is "
            "another): do not go on, and ask the operator for a new code over a channel that you trust"
        )
    return certificate.public_bytes(Encoding.PEM)


def _kept_certificate(home: Path) -> bytes:
    try:
        return (home / "ca.pem").read_bytes()
    except OSError:
        raise EnrolmentError(
            f"{home / 'ca.pem'} is missing: put it back, or join again with a new code"
        ) from None


def another_version(address: str) -> EnrolmentError:
    """What is said of a server that answers with something else than was asked."""
    return EnrolmentError(
        f"the server {address} answered with something else than was asked: it runs another version"
    )


def ask(address: str, path: str, asked: dict[str, Any], ca: bytes, seconds: float) -> dict[str, Any]:
    """Post a JSON object to a server that the authority ``ca`` (PEM) vouches for, and give the one it answers with.

    Raises :class:`EnrolmentError` with the server's sentence where it refuses, :class:`ServiceError` where it cannot
    be reached.
    """
    context = ssl.create_default_context(cadata=ca.decode("ascii", "replace"))
    response = _request("POST", address, path, context, seconds, asked)
    try:
        answer = response.json()
        if not isinstance(answer, dict):
            raise ValueError
    except ValueError:
        raise EnrolmentError(
            f"{address} answered {path} with status {response.status_code} and no JSON: is it a FedVoice server?"
        ) from None
    if response.is_error:
        skewed = clock_problem(response.headers.get("date", ""))
        raise EnrolmentError(skewed or str(answer.get("error", f"status {response.status_code}"))[:500])
    return answer


def _request(
    method: str,
    address: str,
    path: str,
    context: ssl.SSLContext,
    seconds: float,
    body: dict[str, Any] | None = None,
) -> httpx.Response:
    try:
        # No proxies from the environment: who answers is fixed by the certificate, and so is the way there.
        with httpx.Client(verify=context, timeout=seconds, trust_env=False) as client:
            response = client.request(method, f"https://{address}{path}", json=body)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        if shows_wrong_certificate(error):
            raise EnrolmentError(
                f"the server at {address} shows a certificate that its federation's CA did not sign ({reason}): "
                "nothing was sent to it"
            ) from None
        raise ServiceError(
            f"the server {address} cannot be reached ({reason}): check that both are online and try again"
        ) from None
    if len(response.content) > _LARGEST_ANSWER:
        raise EnrolmentError(
            f"{address} answered {path} with {len(response.content)} bytes: it is no FedVoice server"
        )
    return response
