"""The outbox gives back exactly what was put in, to exactly the same question."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.rounds.outbox import Letter, Outbox

LETTER = Letter({"kind": "update", "round": 3, "size": 4}, {"shared": ((4,), "float32", bytes(range(16)))})


def test_the_same_question_gets_the_same_bytes_and_another_none(tmp_path: Path) -> None:
    Outbox(tmp_path).put("run", 3, "weights", LETTER)
    box = Outbox(tmp_path)
    assert box.find("run", 3, "weights") == LETTER
    for other in (("run", 3, "others"), ("run", 4, "weights"), ("runs", 3, "weights")):
        assert box.find(*other) is None


def test_no_run_pushes_out_another_and_no_round_an_earlier_one(tmp_path: Path) -> None:
    box = Outbox(tmp_path, 1.0)
    box.put("old", 9, "w", LETTER)
    for number in range(1, 6):
        box.put("run", number, "w", LETTER)
    assert all(box.find("run", number, "w") == LETTER for number in range(1, 6))
    assert box.find("old", 9, "w") == LETTER


def test_beyond_its_bound_the_oldest_letters_go_and_the_newest_stays_however_large(tmp_path: Path) -> None:
    size = 0
    for number in range(1, 6):
        box = Outbox(tmp_path, 2.5 * size / 1e6 if size else None)
        box.put("run" if number % 2 else "other", number, "w", LETTER)
        written = max(tmp_path.rglob("round-*"), key=lambda path: int(path.name.split("-")[1]))
        os.utime(written, (number, number))
        size = size or written.stat().st_size
    kept = [n for n in range(1, 6) if box.find("run" if n % 2 else "other", n, "w")]
    assert kept == [4, 5]
    Outbox(tmp_path, 1e-6).put("run", 6, "w", LETTER)
    assert len(list(tmp_path.rglob("round-*"))) == 1
    assert Outbox(tmp_path).find("run", 6, "w") == LETTER


def test_a_questions_digest_names_its_file_in_full(tmp_path: Path) -> None:
    one, other = "ab" * 32, "ab" * 31 + "cd"
    box = Outbox(tmp_path)
    box.put("run", 3, one, LETTER)
    assert box.find("run", 3, other) is None
    assert box.questions() == [one]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:-1] + b"\xff", lambda b: b[:0], lambda b: b[:0] + b"{}\n"]
)
def test_a_damaged_reply_counts_as_none(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    box = Outbox(tmp_path)
    box.put("run", 3, "weights", LETTER)
    path = next(tmp_path.rglob("round-*"))
    path.write_bytes(damage(path.read_bytes()))
    assert box.find("run", 3, "weights") is None


def test_a_runs_name_names_no_place_on_the_disk(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Outbox(home / "outbox").put("../../../evil", 1, "../w", LETTER)
    assert [path.relative_to(home).parts[0] for path in tmp_path.rglob("round-*")] == ["outbox"]
