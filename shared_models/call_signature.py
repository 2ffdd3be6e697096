"""What a device signs of every call to a live server: which call, on which path, with which body, and that it is new.

Flower's own signature covers a timestamp alone, so anybody who sees one header may make other calls with it for
minutes. This one is bound to

- the *session*, a random word of the server's process: what was captured before a restart is of no use after it;
- the method and the target (path and query);
- the SHA-256 of the body, which the server compares with what arrives;
- a *number* that no other call of the device has: its clock in nanoseconds, and never the same twice.
"""

from __future__ import annotations

import hashlib
import threading
import time

SESSION_HEADER = "x-fedvoice-session"
DIGEST_HEADER = "x-fedvoice-digest"
NUMBER_HEADER = "x-fedvoice-number"
SIGNATURE_HEADER = "x-fedvoice-signature"

_PURPOSE = b"fedvoice-call\0"


def signed_content(session: str, method: str, target: str, digest: str, number: str) -> bytes:
    """The bytes under the signature. None of the parts can hold a line feed, which no HTTP header or target has."""
    return _PURPOSE + "\n".join((session, method, target, digest, number)).encode("latin-1", "replace")


def body_digest(body: bytes) -> str:
    """SHA-256 of a body, in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


class CallNumbers:
    """A device's numbers: its clock in nanoseconds, always larger than the last. Safe to use from several threads."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> str:
        """A number that was not given before."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            return str(self._last)
