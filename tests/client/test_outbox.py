"""The outbox gives back exactly what was put in, to exactly the same question."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.outbox import Letter, Outbox

LETTER = Letter({"kind": "update", "round": 3, "size": 4}, {"shared": ((4,), "float32", bytes(range(16)))})


def test_the_same_question_gets_the_same_bytes_and_another_none(tmp_path: Path) -> None:
    Outbox(tmp_path).put("run", 3, "weights", LETTER)
    box = Outbox(tmp_path)
    assert box.find("run", 3, "weights") == LETTER
    for other in (("run", 3, "others"), ("run", 4, "weights"), ("runs", 3, "weights")):
        assert box.find(*other) is None


def test_rounds_long_past_and_other_runs_are_let_go(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    box.put("old", 9, "w", LETTER)
    for number in range(1, 6):
        box.put("run", number, "w", LETTER)
    assert [number for number in range(1, 6) if box.find("run", number, "w")] == [4, 5]
    assert box.find("old", 9, "w") is None


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
