"""``fedvoice serve status`` and ``serve rounds``: why, in a form that no device's words can bend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from live_home import make_home
from tiny_federation import tiny_recipe

from server.commands.serve_reasons import grouped_of, lines
from server.live import supervisor
from server.live.home import ServerHome
from server.live.journal import Journal
from server.live.registry import Registry
from simulations.cli import run

SAID = "policy modes: the recipe asks for privacy mode 'none', this device allows central"
EVIL = "FedVoiceError: [/] [link=http://evil]x[/link] \x1b]0;owned\x07"


def report(number: int, grouped: dict[str, dict[str, int]]) -> dict[str, Any]:
    kinds = {kind: sum(words.values()) for kind, words in grouped.items()}
    flat = {said: count for words in grouped.values() for said, count in words.items()}
    return {
        "round": number, "clients": 1, "dropped": flat, "kinds": kinds, "grouped": grouped, "epsilon": None,
        "seconds": 1.0,
    }  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    made = make_home(tmp_path / "home", tiny_recipe(), 4)
    registry = Registry(made.registry)
    registry.invite(b"s" * 16, 2**31)
    registry.enrol(b"s" * 16, b"key", "alice", "0", 4, lambda *_: 5)
    journal = Journal(made.folder, 3)
    journal.round_done(
        report(1, {"declined": {SAID: 3}, "failed": {EVIL: 1}, "never joined": {"never joined": 2}})
    )
    journal.note(state="waiting", problem="0 of the 2 devices that a round needs are online")
    return made


def test_status_says_who_is_missing_and_why_and_nothing_that_is_over(
    home: ServerHome, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", "status", "--home", str(home.folder)]) == 1
    said = capsys.readouterr().out
    assert "not running; round 1 of 3" in said
    assert "devices that a round needs" not in said, "nobody waits any more"
    assert "places: 1 online, 3 never joined" in said
    assert "left out last: 3 declined: policy modes: the recipe asks for privacy mode 'none'" in said
    assert "left out last: 2 never joined\n" in said
    assert "[/] [link=http://evil]x[/link]" in said
    assert "\x1b" not in said
    assert "\x07" not in said
    assert run(["serve", "status", "--home", str(home.folder), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["grouped"]["declined"] == {SAID: 3}
    assert data["places"] == {"online": 1, "offline": 0, "never joined": 3, "left": 0, "revoked": 0}
    assert data["disk"] is None


def test_rounds_are_listed_with_their_reasons(
    home: ServerHome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["serve", "rounds", "--home", str(home.folder)]) == 0
    said = capsys.readouterr().out
    assert (
        "3 declined: policy modes: the recipe asks for privacy mode 'none', this device allows central"
        in said
    )
    assert "\x1b]" not in said
    assert run(["serve", "rounds", "--home", str(home.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kinds"] == {"declined": 3, "failed": 1, "never joined": 2}


def test_a_full_disk_is_named_by_status(
    home: ServerHome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LEAST_FREE_BYTES", 2**62)
    run(["serve", "status", "--home", str(home.folder)])
    said = capsys.readouterr().out
    assert f"the disk that holds {home.folder} is nearly full" in said
    assert "MB free" in said


def test_lines_of_older_servers_are_read() -> None:
    assert list(lines(grouped_of({"dropped": {"offline": 2}}))) == ["2 left out: offline"]
    assert list(lines(grouped_of({"dropped": {}}))) == []
