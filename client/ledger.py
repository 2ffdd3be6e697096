"""The device's privacy ledger: what was ever spent on this device's recordings, and whether more may be.

An entry is on the disk before the release that it pays for exists. A crash in between therefore counts a
release that never happened, and never misses one that did.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.errors import BudgetError, FedVoiceError, PrivacyError, StorageError
from shared_models.private_files import private_file

Unit = Literal["utterance", "person"]

_VERSION = 1
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


class Ledger:
    """A SQLite file that only grows. Processes may share it; each call opens and closes it.

    ``epsilon`` is the budget at ``delta``, for each unit on its own, over everything ever recorded in the
    file: all rounds, runs, servers and restarts. None records without limit. All methods raise
    :class:`StorageError` for a full or unwritable disk and :class:`PrivacyError` for a damaged file.
    """

    def __init__(self, path: Path, epsilon: float | None, delta: float) -> None:
        self.path = path
        self.epsilon = epsilon
        self.delta = delta
        with self._open():
            pass

    def reserve(self, spend: Spend) -> int:
        """Record ``spend`` durably and return its id. Release after it has returned, and never before.

        Raises :class:`BudgetError`, and records nothing, if everything recorded for its unit together with
        it would cost more than the budget.
        """
        release = spend.release
        if spend.unit not in ("utterance", "person"):
            raise PrivacyError(f"a ledger's unit is 'utterance' or 'person', not '{spend.unit}'")
        with self._open() as database:
            # Takes the write lock before reading, so that two processes cannot both spend what is left.
            database.execute("BEGIN IMMEDIATE")
            try:
                self._refuse_overspending(database, spend, release)
                cursor = database.execute(
                    f"INSERT INTO spends (at, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (time.time(), *_row(spend)),
                )
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def spent(self, unit: Unit = "utterance") -> float:
        """The epsilon of everything recorded for ``unit``, at the ledger's delta."""
        return self._cost([entry.spend.release for entry in self.history() if entry.spend.unit == unit])

    def left(self, unit: Unit = "utterance") -> float | None:
        """Budget less what was spent, or None without a budget. Costs compose to less than their sum."""
        return None if self.epsilon is None else max(0.0, self.epsilon - self.spent(unit))

    def history(self) -> list[Entry]:
        """Everything recorded, oldest first."""
        with self._open() as database:
            return _entries(database, self.path)

    def _refuse_overspending(
        self, database: sqlite3.Connection, spend: Spend, release: SampledGaussian
    ) -> None:
        if self.epsilon is None:
            return
        earlier = [e.spend.release for e in _entries(database, self.path) if e.spend.unit == spend.unit]
        if (total := self._cost([*earlier, release])) > self.epsilon:
            raise BudgetError(
                f"{spend.purpose} would bring this device to epsilon {total:.3g} a {spend.unit} where its "
                f"budget is {self.epsilon:g} at delta {self.delta:g} (spent so far: "
                f"{self._cost(earlier):.3g}): use more noise or fewer steps, or raise the budget"
            )

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
    if version not in (0, _VERSION):
        raise PrivacyError(
            f"the ledger {path} has format {version} where this version writes {_VERSION}: update FedVoice"
        )
    # FULL: a commit returns when the entry is on the disk, not when the system has promised to write it.
    database.execute("PRAGMA synchronous = FULL")
    if version == 0:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        database.execute(_SCHEMA)
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")


def _entries(database: sqlite3.Connection, path: Path) -> list[Entry]:
    rows = database.execute(f"SELECT id, at, {_COLUMNS} FROM spends ORDER BY id").fetchall()
    try:
        entries = [Entry(int(row[0]), float(row[1]), Spend(*row[2:])) for row in rows]
        for entry in entries:
            _ = entry.spend.release
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
