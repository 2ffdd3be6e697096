"""Who was invited and which devices take part: a small database that outlives every process.

The server knows of a device its public key, the name that its owner chose, its version and when it was last
heard of. The invitation's secret is kept only as a hash.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared_models.disk import room
from shared_models.errors import EnrolmentError, ServiceError
from shared_models.files import storage_problems
from shared_models.private_files import private_file
from shared_models.shown_text import shown

State = Literal["active", "revoked", "left"]
By = Literal["number", "name", "key"]
"""By what an operator means a device."""
_BUSY_SECONDS = 30.0
_LISTED = 5
_LEAST_KEY_DIGITS = 16

_TABLES = """
CREATE TABLE IF NOT EXISTS invitations (
    code BLOB PRIMARY KEY, created_at REAL NOT NULL, expires_at INTEGER NOT NULL, used_by BLOB
);
CREATE TABLE IF NOT EXISTS devices (
    partition INTEGER PRIMARY KEY, public_key BLOB NOT NULL UNIQUE, node_id TEXT NOT NULL, name TEXT NOT NULL,
    version TEXT NOT NULL, enrolled_at REAL NOT NULL, state TEXT NOT NULL, last_seen REAL NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Registered:
    """One device, as the server knows it."""

    member: int
    public_key: bytes
    node_id: int
    name: str
    version: str
    enrolled_at: float
    """Unix time."""
    state: State
    last_seen: float
    """Unix time, to within some seconds."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key's DER form, in hexadecimal: what the device itself calls its key's fingerprint."""
        inner = b"".join(line for line in self.public_key.split(b"\n") if not line.startswith(b"-----"))
        return hashlib.sha256(base64.b64decode(inner)).hexdigest()

    @property
    def described(self) -> str:
        """One line by which an operator tells it from others."""
        return f"number {self.member}, name '{shown(self.name)}', key {self.fingerprint[:16]}, {self.state}"


class Registry:
    """The devices and invitations of one server. Safe to use from several processes and threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_problems(path):
            private_file(path)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_TABLES)

    def invite(self, secret: bytes, expires_at: int) -> None:
        """Let one device enrol with ``secret`` until ``expires_at`` (Unix time in seconds)."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO invitations VALUES (?, ?, ?, NULL)", (_hash(secret), time.time(), expires_at)
            )

    def open_invitations(self) -> int:
        """How many invitations are neither used nor expired."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT COUNT(*) FROM invitations WHERE used_by IS NULL AND expires_at > ?", (time.time(),)
            ).fetchone()
        return int(row[0])

    def enrol(
        self,
        secret: bytes,
        public_key: bytes,
        name: str,
        version: str,
        population: int,
        node_for: Callable[[bytes, str], int],
    ) -> Registered:
        """Use an invitation. The same key with the same secret gets the same answer again: a device whose answer
        was lost on the way is not stranded.

        ``node_for`` registers the key in Flower and gives the node's id, also when called twice. Raises
        :class:`EnrolmentError` for a secret that is unknown, used or expired, and for a key that was withdrawn.
        """
        with self._writing() as connection:
            known, member = _opened(connection, secret, public_key, population)
            if known is not None:
                return known
            now = time.time()
            device = Registered(
                member, public_key, node_for(public_key, name), name, version, now, "active", now
            )
            connection.execute(
                "INSERT INTO devices VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (member, public_key, str(device.node_id), name, version, now, "active", now),
            )
            connection.execute(
                "UPDATE invitations SET used_by = ? WHERE code = ?", (public_key, _hash(secret))
            )
            return device

    def check(self, secret: bytes, public_key: bytes | None, population: int) -> None:
        """Raise the :class:`EnrolmentError` that :meth:`enrol` would raise now, and use nothing up."""
        with self._connection() as connection:
            _opened(connection, secret, public_key, population)

    def withdraw(self, public_key: bytes, state: Literal["revoked", "left"]) -> Registered | None:
        """Mark an active device as gone; its key and its place are never used again. None if it is unknown."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE devices SET state = ? WHERE public_key = ? AND state = 'active'", (state, public_key)
            )
            return _find(connection, public_key)

    def find(self, public_key: bytes) -> Registered | None:
        """The device with this key (PEM, as enrolled), whatever its state."""
        with self._connection() as connection:
            return _find(connection, public_key)

    def named(self, device: str, by: By | None = None) -> Registered:
        """The device with this number, name or key (16 or more digits of its fingerprint), whichever it is, or ``by``.

        A name may look like a number, and two devices may have one name. Where several devices answer, nothing is
        guessed: raises :class:`ServiceError`, which lists them, also where there is none. One that takes part goes
        before one that is gone.
        """
        found = [d for d in self.devices() if _answers(d, device, by)]
        found = [d for d in found if d.state == "active"] or found
        if len(found) == 1:
            return found[0]
        asked = shown(device)
        if not found:
            what = f"{by} '{asked}'" if by else f"number, name or key '{asked}'"
            raise ServiceError(f"no device has the {what}: fedvoice serve devices lists them")
        listed = "; ".join(d.described for d in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise ServiceError(
            f"{len(found)} devices answer to '{asked}' ({listed}{more}): say which by --number, --name or --key"
        )

    def devices(self) -> list[Registered]:
        """All devices there ever were, by member."""
        with self._connection() as connection:
            return [_device(row) for row in connection.execute("SELECT * FROM devices ORDER BY partition")]

    def roster(self) -> dict[int, int]:
        """Partition -> Flower node id of the active devices."""
        return {d.member: d.node_id for d in self.devices() if d.state == "active"}

    def withdrawn(self) -> set[int]:
        """The places whose device left or was shut out."""
        return {d.member for d in self.devices() if d.state != "active"}

    def seen(self, moments: Mapping[bytes, float]) -> None:
        """Note when devices (by key) were last heard of."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE devices SET last_seen = ? WHERE public_key = ?",
                [(moment, key) for key, moment in moments.items()],
            )

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # One connection a call: it costs 0.1 ms, and nothing is shared between threads or processes.
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                yield connection
        except sqlite3.OperationalError as error:
            raise _explain(error, self.path) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _explain(error: sqlite3.OperationalError, path: Path) -> ServiceError:
    if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return ServiceError(
            f"the disk that holds {path} is full: free some space; what was there is intact ({room(path)} in "
            f"{path.parent})"
        )
    return ServiceError(f"the registry {path} cannot be used ({error}): check the disk and its rights")


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(b"fedvoice-invitation\0" + secret).digest()


def _answers(device: Registered, asked: str, by: By | None) -> bool:
    key = asked.lower()
    matches = {
        "number": asked == str(device.member),
        "name": asked == device.name,
        "key": len(key) >= _LEAST_KEY_DIGITS and device.fingerprint.startswith(key),
    }
    return any(matches.values()) if by is None else matches[by]


def _opened(
    connection: sqlite3.Connection, secret: bytes, public_key: bytes | None, population: int
) -> tuple[Registered | None, int]:
    """What an invitation opens: the place that this key was given with it before, or else the next free one.

    Raises :class:`EnrolmentError` where it opens none.
    """
    invitation = connection.execute(
        "SELECT expires_at, used_by FROM invitations WHERE code = ?", (_hash(secret),)
    ).fetchone()
    if invitation is None:
        raise EnrolmentError("the server does not know this join code: ask the operator for one")
    expires_at, used_by = invitation
    known = None if public_key is None else _find(connection, public_key)
    if known is not None and known.state != "active":
        raise EnrolmentError(f"this device's key was withdrawn ({known.state}): join with a new key")
    if used_by is not None:
        if known is not None and used_by == public_key:
            return known, known.member
        raise EnrolmentError("this join code was used already: each is for one device")
    if expires_at <= time.time():
        raise EnrolmentError("this join code has expired: ask the operator for a new one")
    if known is not None:
        raise EnrolmentError("this device has joined already: it needs no other code")
    member = connection.execute("SELECT COALESCE(MAX(partition) + 1, 0) FROM devices").fetchone()[0]
    if member >= population:
        raise EnrolmentError(
            f"the federation has its {population} places taken: the operator can start one for more people"
        )
    return None, int(member)


def _find(connection: sqlite3.Connection, public_key: bytes) -> Registered | None:
    row = connection.execute("SELECT * FROM devices WHERE public_key = ?", (public_key,)).fetchone()
    return None if row is None else _device(row)


def _device(row: tuple[int, bytes, str, str, str, float, State, float]) -> Registered:
    member, public_key, node_id, name, version, enrolled_at, state, last_seen = row
    return Registered(member, public_key, int(node_id), name, version, enrolled_at, state, last_seen)
