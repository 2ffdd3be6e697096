"""One ledger for all that is computed from an owner's utterances, whichever command computed it."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from client.home import owner_ledger
from client.home.ledger import Ledger, Spend
from client.home.owner_ledger import open_owner_ledger, owner_ledger_path
from shared_models.errors import BudgetError, StaleCopyError

DELTA = 1e-3
SPEND = Spend("DP-SGD", 2.0, 1.0, 5, "utterance", "run", 1, "inner loop")
PERSON = replace(SPEND, unit="person", purpose="update of the shared set")


def made_by_an_older_version(path: Path, *spends: Spend) -> None:
    """A ledger of format 1: the table of entries and nothing else."""
    ledger = Ledger(path, None, DELTA)
    for spend in spends:
        ledger.reserve(spend)
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE about")
        database.execute("DROP TABLE carried")
        database.execute("DROP TABLE released")
        database.execute("PRAGMA user_version = 1")
    database.close()


def test_it_is_one_file_wherever_bases_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_owner_ledger(None, DELTA)
    first.reserve(SPEND)
    monkeypatch.setenv("FEDVOICE_BASES", str(tmp_path / "elsewhere" / "bases"))
    assert open_owner_ledger(None, DELTA).path == first.path == owner_ledger_path()
    assert [entry.spend for entry in open_owner_ledger(None, DELTA).history()] == [SPEND]


def test_cloning_and_joining_compose(tmp_path: Path) -> None:
    open_owner_ledger(10.0, DELTA).reserve(replace(SPEND, run="clone"))
    book = open_owner_ledger(10.0, DELTA, home=tmp_path / "home")
    alone = open_owner_ledger(None, DELTA).spent()
    book.reserve(SPEND)
    assert book.spent() > 1.2 * alone
    with pytest.raises(BudgetError):
        open_owner_ledger(book.spent(), DELTA).reserve(SPEND)


def test_what_older_versions_entered_is_carried_over_once_and_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_BASES", str(tmp_path / "bases"))
    cloned, home = tmp_path / "ledger.sqlite", tmp_path / "home" / "ledger.sqlite"
    default = owner_ledger.HOMES / "device" / "ledger.sqlite"
    made_by_an_older_version(cloned, replace(SPEND, run="clone"))
    # The same numbers twice are two releases.
    made_by_an_older_version(home, SPEND, PERSON, SPEND)
    made_by_an_older_version(default, replace(SPEND, run="other"))
    for _ in range(2):
        book = open_owner_ledger(None, DELTA, home=home.parent)
        assert sorted(entry.spend.run for entry in book.history()) == ["clone", "other", "run", "run"]
        assert {entry.spend.unit for entry in book.history()} == {"utterance"}
    assert len(Ledger(home, None, DELTA).history()) == 3
    assert [entry.id for entry in Ledger(home, None, DELTA).history()] == [1, 2, 3]
    # What is entered at the old place from now on, as by an older version, is carried over too.
    Ledger(home, None, DELTA).reserve(SPEND)
    assert len(open_owner_ledger(None, DELTA, home=home.parent).history()) == 5


def test_an_older_copy_is_refused() -> None:
    path, copy = owner_ledger_path(), owner_ledger_path().with_name("backup")
    open_owner_ledger(None, DELTA).reserve(SPEND)
    shutil.copy(path, copy)
    open_owner_ledger(None, DELTA).reserve(SPEND)
    for gone in path.parent.glob("ledger.sqlite*"):
        gone.unlink()
    shutil.copy(copy, path)
    with pytest.raises(StaleCopyError, match="1 entries where this computer remembers 2"):
        open_owner_ledger(None, DELTA).reserve(SPEND)
    # A release without protection is entered all the same, and makes the copy no better.
    open_owner_ledger(None, DELTA).record_unprotected(
        run="clone", round_number=0, purpose="zero-shot cloning"
    )
    with pytest.raises(StaleCopyError, match="not the one that this computer remembers"):
        open_owner_ledger(None, DELTA).reserve(SPEND)


def test_a_deleted_ledger_is_refused() -> None:
    open_owner_ledger(None, DELTA).reserve(SPEND)
    for gone in owner_ledger_path().parent.glob("ledger.sqlite*"):
        gone.unlink()
    with pytest.raises(StaleCopyError, match="0 entries where this computer remembers 1"):
        open_owner_ledger(None, DELTA).reserve(SPEND)


def test_an_unprotected_release_is_infinite_and_remembered() -> None:
    book = open_owner_ledger(5.0, DELTA)
    book.record_unprotected(run="clone", round_number=0, purpose="zero-shot cloning")
    assert (book.spent(), book.spent_protected(), book.unprotected()) == (math.inf, 0.0, 1)
    assert book.left() == 5.0
    assert book.spent("person") == 0
    with sqlite3.connect(book.path) as database:
        database.execute("DELETE FROM spends")
    database.close()
    with pytest.raises(StaleCopyError):
        open_owner_ledger(5.0, DELTA).reserve(SPEND)


def test_a_ledger_of_the_version_before_keeps_its_entries_and_gets_a_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    made_by_an_older_version(path, SPEND, PERSON)
    ledger = Ledger(path, None, DELTA)
    assert [entry.spend for entry in ledger.history()] == [SPEND, PERSON]
    assert len(ledger.identity) == 32
    assert (
        Ledger(path, None, DELTA).identity == ledger.identity != Ledger(tmp_path / "o", None, DELTA).identity
    )


def test_the_tests_have_a_ledger_of_their_own() -> None:
    for place in (owner_ledger_path(), Path(os.environ["XDG_STATE_HOME"]), owner_ledger.HOMES):
        assert not place.is_relative_to(Path.home() / ".local")
        assert not place.is_relative_to(Path.home() / ".fedvoice")
