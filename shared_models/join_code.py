"""The join code: everything a device needs to enrol, as one line of text that a person can pass on.

::

    fedvoice1-<base32 of: version, expiry, secret, CA fingerprint, address, checksum>

It holds the server's address, the SHA-256 of its CA certificate (so that the first connection can be
verified without any public authority), a secret that works once, and when that secret expires. Whoever has
the code can enrol one device, so it travels like a password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import struct
import time
from dataclasses import dataclass

from shared_models.errors import EnrolmentError

PREFIX = "fedvoice1-"
SECRET_BYTES = 16
FINGERPRINT_BYTES = 32
_CHECKSUM_BYTES = 4
_EXPIRY = struct.Struct(">I")
_LEAST = _EXPIRY.size + SECRET_BYTES + FINGERPRINT_BYTES + _CHECKSUM_BYTES
# What people and mail programs add, and the digits that base32 leaves out because they look like letters.
_TYPED = str.maketrans({"0": "O", "1": "L", "8": "B", " ": None, "\n": None, "\r": None, "\t": None})


@dataclass(frozen=True, slots=True)
class JoinCode:
    """One invitation, as the device receives it."""

    address: str
    """``host:port``; an IPv6 host stands in brackets."""
    fingerprint: bytes
    """SHA-256 of the CA certificate's DER form, 32 bytes."""
    secret: bytes
    """16 bytes that enrol one device, once."""
    expires_at: int
    """Unix time in seconds."""

    def __post_init__(self) -> None:
        host_and_port(self.address)
        if len(self.secret) != SECRET_BYTES or len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError("a join code has a secret of 16 bytes and a fingerprint of 32")

    @classmethod
    def new(cls, address: str, fingerprint: bytes, lifetime_seconds: float) -> JoinCode:
        """A code with a fresh secret from the operating system."""
        expires_at = int(time.time() + lifetime_seconds)
        return cls(address, fingerprint, secrets.token_bytes(SECRET_BYTES), expires_at)

    def text(self) -> str:
        """The code as one line of capital letters and digits."""
        body = _EXPIRY.pack(self.expires_at) + self.secret + self.fingerprint + self.address.encode()
        return PREFIX + base64.b32encode(body + _checksum(body)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str, *, now: float | None = None) -> JoinCode:
        """Read a code that somebody pasted or typed; spaces, line breaks and small letters do no harm.

        Raises :class:`EnrolmentError` for anything else, and for a code that has expired (``now`` is Unix time).
        """
        body = _decoded(text)
        start = _EXPIRY.size
        try:
            code = cls(
                address=body[start + SECRET_BYTES + FINGERPRINT_BYTES :].decode(),
                fingerprint=body[start + SECRET_BYTES : start + SECRET_BYTES + FINGERPRINT_BYTES],
                secret=body[start : start + SECRET_BYTES],
                expires_at=_EXPIRY.unpack(body[:start])[0],
            )
        except (UnicodeDecodeError, ValueError):
            raise EnrolmentError(_DAMAGED) from None
        if code.expires_at <= (time.time() if now is None else now):
            raise EnrolmentError(
                "the join code has expired: ask the operator for a new one (fedvoice invite), or set this "
                "device's clock if it is wrong"
            )
        return code


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of ``host:port`` or ``[IPv6]:port``. Raises :class:`EnrolmentError`."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or not bare or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise EnrolmentError(f"{address!r} is not an address: write host:port, as in voices.example.org:8443")
    if (":" in bare) != bracketed or any(c.isspace() or c in "/@?#" for c in bare):
        raise EnrolmentError(
            f"{address!r} is not an address: write host:port, with an IPv6 host in brackets, as in [::1]:8443"
        )
    return bare, int(port)


_DAMAGED = f"this is not a whole join code: copy all of it, from '{PREFIX}' to the end, as `fedvoice invite` printed it"


def _decoded(text: str) -> bytes:
    cleaned = "".join(text.split())
    if not cleaned.lower().startswith(PREFIX):
        raise EnrolmentError(_DAMAGED)
    symbols = cleaned[len(PREFIX) :].upper().translate(_TYPED).rstrip("=")
    try:
        raw = base64.b32decode(symbols + "=" * (-len(symbols) % 8))
    except (binascii.Error, ValueError):
        raise EnrolmentError(_DAMAGED) from None
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    # The last letter has bits to spare; only one way of writing a code is right.
    canonical = base64.b32encode(raw).decode().rstrip("=") == symbols
    if len(raw) < _LEAST or checksum != _checksum(body) or not canonical:
        raise EnrolmentError(_DAMAGED)
    return body


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"fedvoice-join-code\0" + body).digest()[:_CHECKSUM_BYTES]
