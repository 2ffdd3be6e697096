"""The device's privacy ledger: what was ever spent on this device's recordings, and whether more may be.

An entry is on the disk before the release that it pays for exists. A crash in between therefore counts a
release that never happened, and never misses one that did. A release without any protection is entered as such:
no epsilon covers it, and none is claimed of everything beside it.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.errors import BudgetError, FedVoiceError, PrivacyError, StaleCopyError, StorageError
from shared_models.private_files import private_file
from shared_models.shown_epsilon import epsilon_shown

Unit = Literal["utterance", "person"]

UNPROTECTED = "unprotected release"
"""The mechanism of an entry that nothing bounds."""
_VERSION = 3
_BUSY_SECONDS = 60.0
_SCHEMA = """CREATE TABLE IF NOT EXISTS spends (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    mechanism TEXT NOT NULL,
    noise_multiplier REAL NOT NULL,
    sampling_probability REAL NOT NULL,
    steps INTEGER NOT NULL,
    unit TEXT NOT NULL,
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    purpose TEXT NOT NULL
)"""
# Since version 2: a name of its own, and which entries of other ledgers were carried over into this one.
_ABOUT = "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
_CARRIED = "CREATE TABLE IF NOT EXISTS carried (origin TEXT, entry INTEGER, PRIMARY KEY (origin, entry))"
# Since version 3: what came of an entry, for those whose outcome is a file that is told from others.
_RELEASED = "CREATE TABLE IF NOT EXISTS released (entry INTEGER PRIMARY KEY, digest TEXT NOT NULL)"
_COLUMNS = "mechanism, noise_multiplier, sampling_probability, steps, unit, run, round, purpose"


@dataclass(frozen=True, slots=True)
class Spend:
    """One release, or one training of ``steps`` releases, of a (Poisson-sampled) Gaussian mechanism."""

    mechanism: str
    noise_multiplier: float
    sampling_probability: float
    steps: int
    unit: Unit
    """What a neighbouring data set lacks. Costs of different units do not add up and are kept apart."""
    run: str
    round: int
    purpose: str
    """In words, for the owner: "personal training", "profile export"."""

    @property
    def protected(self) -> bool:
        """Whether any epsilon covers it."""
        return self.mechanism != UNPROTECTED

    @property
    def release(self) -> SampledGaussian:
        """Its cost; raises :class:`PrivacyError` for numbers that no proof covers."""
        return SampledGaussian(self.noise_multiplier, self.sampling_probability, self.steps)


@dataclass(frozen=True, slots=True)
class Entry:
    """A recorded spend."""

    id: int
    at: float
    """Seconds since 1970."""
    spend: Spend
    released: str | None = None
    """Digest of what was released, for releases that are known again by it."""


class LedgerMemory(Protocol):
    """A second memory of a ledger, outside of its folder: :class:`client.home.ledger_anchor.LedgerAnchor`."""

    def check(self, ledger: Ledger) -> None:
        """Raise :class:`StaleCopyError` if the ledger has forgotten something."""

    def move(self, ledger: Ledger) -> None:
        """Remember the ledger as it is now."""


class Ledger:
    """A SQLite file that only grows. Processes may share it; each call opens and closes it.

    ``epsilon`` is the budget at ``delta``, for each unit on its own, over all protected releases ever recorded in
    the file: all rounds, runs, servers and restarts. None records without limit. With a ``memory`` nothing is
    reserved in an older copy of the file. All methods raise :class:`StorageError` for a full or unwritable disk and
    :class:`PrivacyError` for a damaged file.
    """

    def __init__(
        self, path: Path, epsilon: float | None, delta: float, memory: LedgerMemory | None = None
    ) -> None:
        self.path = path
        self.epsilon = epsilon
        self.delta = delta
        self._memory = memory
        with self._open():
            pass

    def reserve(self, spend: Spend) -> int:
        """Record ``spend`` durably and return its id. Release after it has returned, and never before.

        Raises :class:`BudgetError`, and records nothing, if everything recorded for its unit together with
        it would cost more than the budget, and :class:`StaleCopyError` if its memory knows of more entries.
        """
        release = spend.release
        if spend.unit not in ("utterance", "person"):
            raise PrivacyError(f"a ledger's unit is 'utterance' or 'person', not '{spend.unit}'")
        if self._memory is not None:
            self._memory.check(self)
        # The write lock is taken before reading, so that two processes cannot both spend what is left.
        with self._open() as database, _transaction(database):
            self._refuse_overspending(database, spend, release)
            number = _insert(database, time.time(), spend)
        if self._memory is not None:
            self._memory.move(self)
        return number

    def bind(self, entry: int, digest: str) -> None:
        """Enter, once, the digest of what was released for ``entry``: nothing else is known as that release."""
        with self._open() as database, _transaction(database):
            database.execute("INSERT INTO released VALUES (?, ?)", (entry, digest))

    def record_unprotected(
        self, *, run: str, round_number: int, purpose: str, unit: Unit = "utterance"
    ) -> int:
        """Enter a release that nothing bounds, and return the entry's id. No budget allows or forbids it.

        It is entered in an older copy too, which stays one in its memory's eyes.
        """
        spend = Spend(UNPROTECTED, 0.0, 1.0, 1, unit, run, round_number, purpose)
        with self._remembered_if_whole(), self._open() as database, _transaction(database):
            return _insert(database, time.time(), spend)

    def carry_over(self, other: Ledger, unit: Unit = "utterance") -> int:
        """Enter what ``other`` recorded for ``unit`` here too, each entry once; says how many are new."""
        origin, entries = other.identity, [e for e in other.history() if e.spend.unit == unit]
        new = 0
        with self._remembered_if_whole(), self._open() as database, _transaction(database):
            known = {
                row[0] for row in database.execute("SELECT entry FROM carried WHERE origin = ?", (origin,))
            }
            for entry in entries:
                if entry.id not in known:
                    number = _insert(database, entry.at, entry.spend)
                    if entry.released is not None:
                        database.execute("INSERT INTO released VALUES (?, ?)", (number, entry.released))
                    database.execute("INSERT INTO carried VALUES (?, ?)", (origin, entry.id))
                    new += 1
        return new

    @property
    def identity(self) -> str:
        """A name that the file was given when it was made, and keeps."""
        with self._open() as database:
            return str(database.execute("SELECT value FROM about WHERE key = 'identity'").fetchone()[0])

    def spent(self, unit: Unit = "utterance") -> float:
        """The epsilon of everything recorded for ``unit``: infinite where something unprotected is among it."""
        return math.inf if self.unprotected(unit) else self.spent_protected(unit)

    def spent_protected(self, unit: Unit = "utterance") -> float:
        """The epsilon of the protected releases alone: what the budget is compared with."""
        return self._cost(_protected(self.history(), unit))

    def unprotected(self, unit: Unit = "utterance") -> int:
        """How many releases no epsilon covers."""
        return sum(e.spend.unit == unit and not e.spend.protected for e in self.history())

    def left(self, unit: Unit = "utterance") -> float | None:
        """Budget less what protected releases spent, or None without one. Costs compose to less than their sum."""
        return None if self.epsilon is None else max(0.0, self.epsilon - self.spent_protected(unit))

    def history(self) -> list[Entry]:
        """Everything recorded, oldest first."""
        with self._open() as database:
            return _entries(database, self.path)

    def _refuse_overspending(
        self, database: sqlite3.Connection, spend: Spend, release: SampledGaussian
    ) -> None:
        if self.epsilon is None:
            return
        earlier = _protected(_entries(database, self.path), spend.unit)
        if (total := self._cost([*earlier, release])) > self.epsilon:
            raise BudgetError(
                f"{spend.purpose} would bring this device to epsilon {epsilon_shown(total)} a {spend.unit} where its "
                f"budget is {self.epsilon:g} at delta {self.delta:g} (spent so far: "
                f"{epsilon_shown(self._cost(earlier))}): use more noise or fewer steps, or raise the budget"
            )

    @contextlib.contextmanager
    def _remembered_if_whole(self) -> Iterator[None]:
        """What is entered within is remembered too, unless this copy of the ledger has forgotten something."""
        whole = self._memory is not None
        try:
            if self._memory is not None:
                self._memory.check(self)
        except StaleCopyError:
            whole = False
        yield
        if self._memory is not None and whole:
            self._memory.move(self)

    def _cost(self, releases: list[SampledGaussian]) -> float:
        return epsilon_of(releases, self.delta)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with _explained(self.path):
            private_file(self.path)
            database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                _prepare(database, self.path)
                yield database
            finally:
                database.close()


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= _VERSION:
        raise PrivacyError(
            f"the ledger {path} has format {version} where this version writes {_VERSION}: update FedVoice"
        )
    # FULL: a commit returns when the entry is on the disk, not when the system has promised to write it.
    database.execute("PRAGMA synchronous = FULL")
    if version == 0:
        database.execute("PRAGMA journal_mode = WAL")
    if version < _VERSION:
        with _transaction(database):
            for table in (_SCHEMA, _ABOUT, _CARRIED, _RELEASED):
                database.execute(table)
            database.execute("INSERT OR IGNORE INTO about VALUES ('identity', ?)", (secrets.token_hex(16),))
            database.execute(f"PRAGMA user_version = {_VERSION}")


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _insert(database: sqlite3.Connection, at: float, spend: Spend) -> int:
    cursor = database.execute(
        f"INSERT INTO spends (at, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (at, *_row(spend))
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _protected(entries: list[Entry], unit: Unit) -> list[SampledGaussian]:
    return [e.spend.release for e in entries if e.spend.unit == unit and e.spend.protected]


def _entries(database: sqlite3.Connection, path: Path) -> list[Entry]:
    rows = database.execute(
        f"SELECT id, at, {_COLUMNS}, digest FROM spends LEFT JOIN released ON entry = id ORDER BY id"
    ).fetchall()
    try:
        entries = [Entry(int(row[0]), float(row[1]), Spend(*row[2:-1]), row[-1]) for row in rows]
        for entry in entries:
            _ = entry.spend.release if entry.spend.protected else None
    except (PrivacyError, TypeError, ValueError) as error:
        raise PrivacyError(_damaged(path, error)) from None
    return entries


def _row(spend: Spend) -> tuple[str | float | int, ...]:
    return (
        spend.mechanism,
        float(spend.noise_multiplier),
        float(spend.sampling_probability),
        int(spend.steps),
        spend.unit,
        spend.run,
        int(spend.round),
        spend.purpose,
    )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FedVoiceError:
        raise
    except OSError as error:
        raise StorageError(
            f"the ledger {path} cannot be written ({error.strerror}): nothing was spent"
        ) from error
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"the ledger {path} cannot be written ({error}): free space or mend its rights; nothing was "
            "released"
        ) from error
    except sqlite3.DatabaseError as error:
        raise PrivacyError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    return (
        f"the ledger {path} is damaged ({error}): put a backup in its place; nothing private is released "
        "without it"
    )
