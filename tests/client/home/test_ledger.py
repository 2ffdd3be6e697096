"""The device's ledger: it never forgets, never overspends, and never fails in silence."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.home.ledger import Ledger, Spend
from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.errors import BudgetError, PrivacyError, StorageError

DELTA = 1e-5
SPEND = Spend("subsampled gaussian", 2.0, 0.5, 10, "utterance", "run-1", 1, "personal training")


def test_spends_compose_over_rounds_runs_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "home" / "ledger.sqlite"
    other = replace(SPEND, noise_multiplier=3.0, run="run-2", round=7, purpose="cloning")
    first = Ledger(path, epsilon=20.0, delta=DELTA).reserve(SPEND)
    second = Ledger(path, epsilon=20.0, delta=DELTA).reserve(other)
    ledger = Ledger(path, epsilon=20.0, delta=DELTA)
    assert first != second
    assert [entry.spend for entry in ledger.history()] == [SPEND, other]
    together = epsilon_of([SampledGaussian(2.0, 0.5, 10), SampledGaussian(3.0, 0.5, 10)], DELTA)
    assert ledger.spent() == together
    assert ledger.left() == pytest.approx(20.0 - together)
    alone = epsilon_of([SPEND.release], DELTA)
    assert alone < ledger.spent() < alone + epsilon_of([other.release], DELTA)


def test_units_are_kept_apart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", epsilon=None, delta=DELTA)
    ledger.reserve(replace(SPEND, unit="person"))
    assert ledger.spent("utterance") == 0.0
    assert ledger.spent("person") > 0
    assert ledger.left("person") is None


def test_a_refused_spend_leaves_nothing_behind_and_a_smaller_one_still_fits(tmp_path: Path) -> None:
    budget = epsilon_of([SampledGaussian(2.0, 0.5, 25)], DELTA)
    ledger = Ledger(tmp_path / "ledger.sqlite", epsilon=budget, delta=DELTA)
    ledger.reserve(SPEND)
    ledger.reserve(SPEND)
    with pytest.raises(BudgetError, match="personal training would bring this device to epsilon") as refusal:
        ledger.reserve(SPEND)
    assert "\n" not in str(refusal.value)
    assert len(ledger.history()) == 2
    ledger.reserve(replace(SPEND, steps=5))
    assert 0 <= (ledger.left() or 0.0) < 1e-6


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(
        st.tuples(st.sampled_from([1.0, 1.5, 4.0]), st.sampled_from([0.1, 1.0]), st.integers(1, 20)),
        max_size=6,
    )
)
def test_no_sequence_of_spends_exceeds_the_budget(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[float, float, int]]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "l.sqlite", epsilon=6.0, delta=DELTA)
    accepted = []
    for noise, probability, steps in asked:
        spend = replace(SPEND, noise_multiplier=noise, sampling_probability=probability, steps=steps)
        try:
            ledger.reserve(spend)
            accepted.append(spend)
        except BudgetError:
            assert epsilon_of([s.release for s in [*accepted, spend]], DELTA) > 6.0
    assert ledger.spent() <= 6.0
    assert [entry.spend for entry in ledger.history()] == accepted


def _spend_all(path: Path, epsilon: float, accepted: multiprocessing.Queue[int]) -> None:
    ledger, count = Ledger(path, epsilon, DELTA), 0
    for _ in range(5):
        try:
            ledger.reserve(replace(SPEND, sampling_probability=1.0, steps=1))
            count += 1
        except BudgetError:
            pass
    accepted.put(count)


def test_two_processes_cannot_both_spend_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    budget = epsilon_of([SampledGaussian(2.0, 1.0, 6)], DELTA) + 1e-9
    context = multiprocessing.get_context("fork")
    accepted = context.Queue()
    workers = [context.Process(target=_spend_all, args=(path, budget, accepted)) for _ in range(2)]
    for worker in workers:
        worker.start()
    counts = [accepted.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(counts) == 6
    assert len(Ledger(path, budget, DELTA).history()) == 6


def watch(
    monkeypatch: pytest.MonkeyPatch, path: Path, note: Callable[[sqlite3.Connection, str], None]
) -> Ledger:
    """A ledger that says each statement to ``note``, with its connection, before it is executed."""
    connect = sqlite3.connect

    class Watched(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            with monkeypatch.context() as plain:
                plain.setattr(sqlite3, "connect", connect)
                note(self, statement)
            return super().execute(statement, *values)

    def connected(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=Watched, **keywords)

    ledger = Ledger(path, 20.0, DELTA)
    monkeypatch.setattr(sqlite3, "connect", connected)
    return ledger


def test_an_entry_is_on_the_disk_when_it_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``synchronous`` is of a connection: 2 (FULL) or 3 (EXTRA) means that a commit waits for the disk."""
    durable: list[bool] = []

    def note(connection: sqlite3.Connection, statement: str) -> None:
        if statement == "COMMIT":
            cursor = sqlite3.Connection.execute(connection, "PRAGMA synchronous")
            durable.append(cursor.fetchone()[0] >= 2)

    watch(monkeypatch, tmp_path / "ledger.sqlite", note).reserve(SPEND)
    assert durable == [True]


def test_the_budget_is_looked_at_with_the_ledger_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and spending no other process may spend, whatever the two are interrupted by."""
    path, others = tmp_path / "ledger.sqlite", list[str]()

    def note(connection: sqlite3.Connection, statement: str) -> None:
        if statement.startswith("SELECT") and connection.in_transaction:
            other = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                other.execute("BEGIN IMMEDIATE")
                others.append("got in between")
            except sqlite3.OperationalError as error:
                others.append(str(error))
            finally:
                other.close()

    watch(monkeypatch, path, note).reserve(SPEND)
    assert others == ["database is locked"]


def test_a_killed_process_leaves_what_it_reserved(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    script = (
        "import os, signal; from pathlib import Path; from client.home.ledger import Ledger, Spend; "
        f"ledger = Ledger(Path({str(path)!r}), None, 1e-5); "
        "ledger.reserve(Spend('gaussian', 2.0, 1.0, 3, 'utterance', 'r', 1, '')); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -signal.SIGKILL
    assert [entry.spend.steps for entry in Ledger(path, None, DELTA).history()] == [3]


@pytest.mark.parametrize("damage", ["not a database", "torn", "impossible numbers", "newer format"])
def test_a_damaged_ledger_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, epsilon=5.0, delta=DELTA)
    ledger.reserve(SPEND)
    if damage == "not a database":
        path.write_bytes(b"x" * 5000)
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with sqlite3.connect(path) as database:
            if damage == "newer format":
                database.execute("PRAGMA user_version = 99")
            else:
                database.execute("UPDATE spends SET noise_multiplier = -1")
        database.close()
    with pytest.raises(PrivacyError, match=r"is damaged|has format 99") as problem:
        ledger.reserve(SPEND)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("version", [1, 2])
def test_a_ledger_of_an_earlier_version_is_read_and_goes_on(tmp_path: Path, version: int) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, None, DELTA).reserve(SPEND)
    with sqlite3.connect(path) as database:
        for table in ("released", "about", "carried")[: 1 if version == 2 else 3]:
            database.execute(f"DROP TABLE {table}")
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    ledger = Ledger(path, None, DELTA)
    assert [(e.spend, e.released) for e in ledger.history()] == [(SPEND, None)]
    ledger.bind(ledger.reserve(SPEND), "what came of it")
    assert [(e.spend, e.released) for e in Ledger(path, None, DELTA).history()] == [
        (SPEND, None), (SPEND, "what came of it"),
    ]  # fmt: skip
    assert ledger.spent() == epsilon_of([SPEND.release, SPEND.release], DELTA)
    other = Ledger(tmp_path / "other.sqlite", None, DELTA)
    assert other.carry_over(ledger) == 2
    assert [e.released for e in other.history()] == [None, "what came of it"]


def test_an_unwritable_place_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in [tmp_path / "file" / "ledger.sqlite", tmp_path]:
        with pytest.raises(StorageError, match="cannot be written"):
            Ledger(place, None, DELTA)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a way to limit a file's size")
def test_a_full_disk_is_a_storage_error_and_what_was_there_is_intact(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, None, DELTA).reserve(SPEND)
    # A limit on the size of files fails writes as a full disk does, and needs no rights to set.
    script = (
        "import resource, signal; from pathlib import Path; from client.home.ledger import Ledger, Spend; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (70000, 70000))\n"
        "from shared_models.errors import StorageError\n"
        f"ledger = Ledger(Path({str(path)!r}), None, 1e-5)\n"
        "try:\n"
        "    ledger.reserve(Spend('gaussian', 2.0, 1.0, 3, 'utterance', 'r', 1, 'x' * 200000))\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3], env=os.environ,
    )  # fmt: skip
    assert "nothing was released" in done.stdout
    assert [entry.spend for entry in Ledger(path, None, DELTA).history()] == [SPEND]


@pytest.mark.parametrize(
    "wrong", [{"noise_multiplier": 0.0}, {"sampling_probability": 1.2}, {"steps": -1}, {"unit": "word"}]
)
def test_what_cannot_be_accounted_for_is_refused(tmp_path: Path, wrong: dict[str, float | str]) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", None, DELTA)
    with pytest.raises(PrivacyError):
        ledger.reserve(replace(SPEND, **wrong))  # type: ignore[arg-type]
    assert ledger.history() == []
