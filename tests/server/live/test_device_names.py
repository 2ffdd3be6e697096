"""Devices' names: shown as they are, told from numbers and keys, and refused where they cannot be seen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fake_device import new_key, pem_of
from hypothesis import given
from hypothesis import strategies as st
from live_home import make_home
from nasty_names import NASTY, OBEYED
from tiny_federation import tiny_recipe
from typed_command import Typed

from server.drops import Drop
from server.live.enrolment import _name
from server.live.home import ServerHome
from server.live.journal import Standing
from server.live.metrics import Traffic, figures, prometheus
from server.live.registry import Registry
from server.live.setup import Wanted, prepare
from shared_models.errors import EnrolmentError, ServiceError
from shared_models.shown_text import name_problem


def registry_with(folder: Path, names: list[str]) -> ServerHome:
    """A home whose devices have these names, put in past every check, as a server of before would have them."""
    home = make_home(folder, tiny_recipe(), len(names))
    with Registry(home.registry)._writing() as connection:
        for place, name in enumerate(names):
            fields = (place, pem_of(new_key()).encode(), str(place + 1000), name, "0.1.0", 1.0, "active", 1.0)
            connection.execute("INSERT INTO devices VALUES (?, ?, ?, ?, ?, ?, ?, ?)", fields)
    return home


@pytest.fixture
def fedvoice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("COLUMNS", "200")
    return Typed(capsys)


@pytest.mark.parametrize("way", [[], ["--json"]])
def test_a_registry_of_nasty_names_is_listed(tmp_path: Path, way: list[str], fedvoice: Typed) -> None:
    """As written by a server of before names were checked. One called ``[/]`` ended the command with a traceback."""
    registry_with(tmp_path / "home", NASTY)
    listed = fedvoice("serve", "devices", "--home", str(tmp_path / "home"), *way)
    text = listed.stdout
    assert (listed.returncode, listed.stderr) == (0, "")
    assert OBEYED.search(text.replace("\n", "")) is None
    if way:
        assert [device["name"] for device in json.loads(text)] == NASTY
    else:
        assert "[/]" in text
        assert "[link=https://example.org]click" in text.replace("\n", "")
        assert len(re.findall("^│ +[0-9]+ ", text, re.MULTILINE)) == len(NASTY), (
            "a name made a line of its own"
        )


def test_a_device_is_revoked_by_what_it_is_meant_by(tmp_path: Path, fedvoice: Typed) -> None:
    """A name that is a number stood for another device's place, and two such devices could not be revoked at all."""
    names = ["1", "0", "bob", "bob", "[/]"]
    home = registry_with(tmp_path / "home", names)
    registry = Registry(home.registry)
    keys = [device.fingerprint for device in registry.devices()]
    for asked in ("0", "1", "bob"):
        with pytest.raises(ServiceError, match=r"2 devices answer to .*number [02],"):
            registry.named(asked)
    assert registry.named("0", "number").member == 0
    assert registry.named("0", "name").member == 1
    assert registry.named("2").member == 2
    assert registry.named(keys[3][:16].upper()).member == 3
    assert registry.named(keys[4], "key").member == 4
    for asked, by in (
        ("9", None),
        ("9", "number"),
        ("bob", "number"),
        ("2", "name"),
        (keys[0][:15], None),
        ("", "key"),
    ):
        with pytest.raises(ServiceError, match="no device has the"):
            registry.named(asked, by)  # type: ignore[arg-type]
    revoked = fedvoice("serve", "revoke", "--name", "1", "--home", str(home.folder))
    assert revoked.returncode == 0, revoked.stderr
    # Of two that answer, one takes part no more: the other is meant.
    assert fedvoice("serve", "revoke", "1", "--home", str(home.folder)).returncode == 0
    ambiguous = fedvoice("serve", "revoke", "bob", "--home", str(home.folder))
    assert ambiguous.returncode != 0
    assert "number 2" in ambiguous.stderr
    assert keys[3][:16] in ambiguous.stderr
    assert fedvoice("serve", "revoke", "--key", keys[2], "--home", str(home.folder)).returncode == 0
    assert fedvoice("serve", "revoke", "--number", "4", "--home", str(home.folder)).returncode == 0
    assert [device.state for device in registry.devices()] == ["revoked"] * 3 + ["active", "revoked"]
    for wrong in ([], ["bob", "--number", "3"], ["--name", "a", "--key", "b"]):
        assert fedvoice("serve", "revoke", *wrong, "--home", str(home.folder)).returncode == 2


@given(st.text(max_size=80))
def test_a_name_that_cannot_be_seen_does_not_enrol(name: str) -> None:
    if name_problem(name) is None:
        assert _name(name) == name
        return
    with pytest.raises(EnrolmentError, match="cannot be a device's name"):
        _name(name)


def test_what_is_no_name_at_all_does_not_enrol() -> None:
    for wrong in (None, 7, ["a"], {}):
        with pytest.raises(EnrolmentError, match="name is missing"):
            _name(wrong)


def test_a_federations_name_is_checked_when_its_home_is_made(tmp_path: Path) -> None:
    for name in ("\x1b[2J", "a\nb", "x" * 65):
        with pytest.raises(ServiceError, match="cannot be a federation's name"):
            prepare(ServerHome(tmp_path / "home"), Wanted(tiny_recipe(), ("h:1",), name=name))
    assert not (tmp_path / "home").exists()


@given(st.text(max_size=40))
def test_a_label_of_the_metrics_is_one_line_whatever_it_holds(kind: str) -> None:
    """Refusals have the gate's own words as labels; why an update was left out is one of a closed set."""
    text = prometheus(figures(Standing(dropped={kind: 3}), [], {}, Traffic(), {kind: 3}, 1))
    assert OBEYED.search(text.replace("\n", "")) is None
    lines = [line for line in text.split("\n") if line.startswith("fedvoice_updates_dropped_total")]
    assert {line.split('"')[1] for line in lines} == {str(drop) for drop in Drop}
    refused = next(line for line in text.split("\n") if line.startswith("fedvoice_refusals_total"))
    assert re.fullmatch(r'fedvoice_refusals_total\{\w+="([^"\\\n]|\\["\\n])*"\} 3', refused)
