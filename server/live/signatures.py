"""Devices' keys and what they sign: EC P-384 keys, ECDSA over SHA-256."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared_models.call_signature import (
    DIGEST_HEADER,
    NUMBER_HEADER,
    SESSION_HEADER,
    SIGNATURE_HEADER,
    signed_content,
)
from shared_models.errors import EnrolmentError

ENROL = b"fedvoice-enrol\0"
LEAVE = b"fedvoice-leave\0"
# How far a device's clock may be behind and ahead: Flower's own limits for signed requests.
CLOCK_SECONDS = 300.0
AHEAD_SECONDS = 5.0
_CALL_HEADERS = (SESSION_HEADER, DIGEST_HEADER, NUMBER_HEADER, SIGNATURE_HEADER)


def public_key(pem: str | bytes) -> tuple[ec.EllipticCurvePublicKey, bytes]:
    """A device's key and its one PEM form, by which it is known. Raises :class:`EnrolmentError`."""
    try:
        key = serialization.load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except (ValueError, TypeError):
        raise EnrolmentError("the public key is not in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise EnrolmentError("the public key must be of the curve P-384")
    return key, key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def proves(key: ec.EllipticCurvePublicKey, proof: bytes, content: bytes) -> bool:
    """Whether ``proof`` is this key's signature of ``content``."""
    try:
        key.verify(proof, content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def call_problem(
    key: ec.EllipticCurvePublicKey, method: str, target: str, headers: Mapping[str, bytes]
) -> str | None:
    """Why a call is not signed by this key, just now, for this method and target; None if it is.

    Its body is yet to be compared with the digest that is signed, its number with those that came before, and its
    session with the server's.
    """
    given = {name: headers.get(name, b"").decode("latin-1") for name in _CALL_HEADERS}
    digest, number = given[DIGEST_HEADER], given[NUMBER_HEADER]
    if not re.fullmatch("[0-9a-f]{64}", digest) or not re.fullmatch("[0-9]{1,20}", number):
        return (
            "the call is not signed as FedVoice's devices sign: its digest or number is missing or unreadable"
        )
    age = time.time() - int(number) / 1e9
    if not -AHEAD_SECONDS <= age <= CLOCK_SECONDS:
        return f"the signed time is {age:.0f} s off: check the device's clock, or this is a replay"
    try:
        proof = from_base64(given[SIGNATURE_HEADER])
    except EnrolmentError as error:
        return str(error)
    content = signed_content(given[SESSION_HEADER], method, target, digest, number)
    return None if proves(key, proof, content) else "the signature is not of this key for this call"


def from_base64(text: object) -> bytes:
    """Strict base64. Raises :class:`EnrolmentError`."""
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise EnrolmentError("a field is not base64") from None
