"""Devices' keys and what they sign: EC P-384 keys, ECDSA over SHA-256."""

from __future__ import annotations

import base64
import binascii
import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared_models.errors import EnrolmentError

ENROL = b"fedvoice-enrol\0"
LEAVE = b"fedvoice-leave\0"
# How far a device's clock may be off: Flower's own limits for signed requests, on either side.
CLOCK_SECONDS = 300.0


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


def signed_now(key_pem: bytes, timestamp: str, proof: bytes) -> str | None:
    """Why a Fleet request is not signed by this key just now; None if it is. ``timestamp`` is ISO 8601."""
    try:
        age = (
            datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(timestamp)
        ).total_seconds()
    except (ValueError, TypeError):
        return "the signed time is unreadable"
    if abs(age) > CLOCK_SECONDS:
        return f"the signed time is {age:.0f} s off: check the device's clock, or this is a replay"
    key, _ = public_key(key_pem)
    return None if proves(key, proof, timestamp.encode()) else "the signature is not of this key"


def from_base64(text: object) -> bytes:
    """Strict base64. Raises :class:`EnrolmentError`."""
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise EnrolmentError("a field is not base64") from None
