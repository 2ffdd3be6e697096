"""Units and container files do what they say: systemd takes them, and what they copy, call and name is there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import typer

from client.home.owner_ledger import owner_ledger_path
from client.live import installation as of_devices
from server.live import installation as of_servers
from shared_models.service_unit import exec_line
from shared_models.state_folder import state_folder
from simulations import cli

REPOSITORY = Path(__file__).resolve().parents[2]
CONTAINERFILES = {"device": of_devices.containerfile(), "server": of_servers.containerfile()}
ODD = ["home", "my home", "100% $HOME", 'a "quoted" \\ home', "it's", "-home;x"]


def _parses(words: list[str]) -> None:
    """Raises where the command line has no such command or option."""
    command: click.Command = typer.main.get_command(cli.app)
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, words
        command, context = found, click.Context(found, parent=context)
    command.make_context(command.name, words, parent=context)


def _command_of(unit: str) -> list[str]:
    """The words of ``ExecStart=``, as systemd takes them apart."""
    (line,) = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


@pytest.mark.parametrize("name", ODD)
def test_a_unit_starts_this_installation_on_its_home(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    for unit, wanted in (
        (of_devices.systemd_unit(home), ["join", "--home", str(home)]),
        (of_servers.systemd_unit(home), ["serve", "--home", str(home), "--stay"]),
    ):
        command = _command_of(unit)
        assert command[-len(wanted) :] == wanted
        assert os.access(command[0], os.X_OK)
        assert Path(command[0]).is_absolute()
        _parses(list(wanted))
        # A user's units may have no file systems of their own everywhere.
        assert not re.search("^(Private|Protect)", unit, re.MULTILINE)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path, name: str) -> None:
    for service, unit in (
        ("fedvoice-device.service", of_devices.systemd_unit(tmp_path / name)),
        ("fedvoice-server.service", of_servers.systemd_unit(tmp_path / name)),
    ):
        path = tmp_path / service
        path.write_text(unit)
        surroundings = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
        command = ["systemd-analyze", "verify", "--user", str(path)]
        said = subprocess.run(
            command, env=surroundings, capture_output=True, text=True, check=False, timeout=60
        )
        assert (said.returncode, said.stderr) == (0, "")


def test_words_that_systemd_would_read_otherwise_are_quoted() -> None:
    assert (
        exec_line(["/bin/x", "a b", "%h", "$HOME", 'q"', "\\"]) == '/bin/x "a b" "%%h" "$$HOME" "q\\"" "\\\\"'
    )


@pytest.mark.parametrize("who", CONTAINERFILES)
def test_a_container_file_copies_all_that_it_installs(who: str, tmp_path: Path) -> None:
    text = CONTAINERFILES[who]
    assert "{" not in text
    for line in re.findall("^COPY (.*)$", text, re.MULTILINE):
        *sources, target = line.split()
        assert target.startswith("/src/")
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            place = tmp_path / target.removeprefix("/")
            place = place / source if target.endswith("/") else place
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(REPOSITORY / source)
    copied = tmp_path / "src"
    (install,) = re.findall("^RUN pip install (.*)$", text, re.MULTILINE)
    words = shlex.split(install)
    assert words[-1] == "/src", (
        "from what was copied, and by no name that anybody could take in a package index"
    )
    assert (copied / Path(words[words.index("-c") + 1]).relative_to("/src")).is_file()
    project = tomllib.loads((copied / "pyproject.toml").read_text())
    for named in (project["project"]["readme"], *project["project"]["license-files"]):
        assert (copied / named).is_file(), named
    for package, patterns in project["tool"]["setuptools"]["package-data"].items():
        for pattern in patterns:
            assert any((copied / package).glob(pattern)), pattern
    # It runs from what was copied, and from nothing else of this repository.
    code = "import simulations.cli, server.live.gate, client.live.supervisor; print(simulations.__file__)"
    surroundings = {**os.environ, "PYTHONPATH": str(copied)}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=copied, env=surroundings, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip().startswith(str(copied))


@pytest.mark.parametrize("who", CONTAINERFILES)
def test_what_a_container_file_runs_are_commands_that_there_are(who: str) -> None:
    text = CONTAINERFILES[who]
    (entry,) = re.findall("^ENTRYPOINT (.*)$", text, re.MULTILINE)
    entrypoint = json.loads(entry)
    for listed in re.findall("^(?:ENTRYPOINT|HEALTHCHECK .* CMD) (.*)$", text, re.MULTILINE):
        program, *words = json.loads(listed)
        assert program == "fedvoice"
        _parses(words)
    comments = re.sub(r"\\\n# *", " ", text)
    ran = []
    for line in re.findall("^# *(podman .*|fedvoice .*)$", comments, re.MULTILINE):
        words = shlex.split(line.split(" > ")[0])
        image = f"fedvoice-{who}"
        if words[0] == "fedvoice":
            _parses(words[1:])
        elif words[1] == "run":
            _parses([*entrypoint[1:], *words[words.index(image) + 1 :]])
            ran.append(words)
        elif words[1] == "exec":
            _parses(words[words.index("fedvoice", 3) + 1 :])
    assert ran
    assert {"device": "fedvoice:/data", "server": "fedvoice:/data"}[who] in ran[-1]
    assert re.search("^VOLUME /data$", text, re.MULTILINE)
    (user,) = re.findall("^USER (.*)$", text, re.MULTILINE)
    assert f"--uid 1000 {user} " in text


@pytest.mark.parametrize("who", CONTAINERFILES)
def test_what_is_remembered_is_in_the_volume(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers and what was released outlive a container: one that is made anew of the same volume knows of them."""
    (chosen,) = re.findall("^ENV (.*)$", CONTAINERFILES[who], re.MULTILINE)
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, _, value in (word.partition("=") for word in chosen.split()):
        monkeypatch.setenv(name, value)
    places = [state_folder(), *([owner_ledger_path()] if who == "device" else [])]
    assert all(place.is_relative_to("/data") for place in places)
    # A home that is restored from a backup does not bring the memory of it along.
    assert not any(place.is_relative_to("/data/home") for place in places)
