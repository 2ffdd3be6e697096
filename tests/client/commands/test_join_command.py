"""``fedvoice join`` and ``fedvoice leave`` as their user types them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_device import joined
from small_superlink import SmallSuperLink, superlink
from tiny_federation import small_corpus

from client.home.device import Device
from client.home.policy import load_policy
from client.live.enrolment import enrol
from client.live.holding import is_held
from client.live.home import Membership
from client.live.inspection import inspect
from shared_models.errors import EnrolmentError, ServiceError
from shared_models.join_code import JoinCode
from simulations.cli import run


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallSuperLink]:
    with superlink(tmp_path_factory.mktemp("server")) as running:
        running.submit()
        yield running


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One speaker's recordings as a person would keep them, one of them damaged."""
    corpus = small_corpus(tmp_path_factory.mktemp("corpus") / "all", train=1, utterances=7)
    speaker = next(path for path in corpus.iterdir() if path.is_dir())
    import csv

    with (corpus / "metadata.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            (corpus / row["path"]).with_suffix(".txt").write_text(row["text"])
    (speaker / "broken.wav").write_bytes(b"RIFF nothing")
    (speaker / "broken.txt").write_text("This cannot be heard.")
    return speaker


def test_joining_reads_the_recordings_says_what_is_sent_and_enrols(
    link: SmallSuperLink, voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    command = ["join", link.invite(), "--voice", str(voice), "--home", str(home), "--name", "alice"]
    assert run([*command, "--yes", "--enrol-only"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "trusted with your clipped update before noise" in said
    assert "Not sent, ever: recordings" in said
    assert "7 recordings can be used" in said
    assert "broken.wav" in said
    assert Membership.load(home).name == "alice"
    device = Device.open(home)
    assert len(device.recordings) == 7
    assert all(recording.audio.is_absolute() for recording in device.recordings)
    assert load_policy(home / "policy.toml").modes == ("central",)
    for secret in ("node.key", "superexec.secret"):
        assert stat.S_IMODE((home / secret).stat().st_mode) == 0o600

    assert run(["leave", "--home", str(home)]) == 0
    assert (home / "recordings.json").exists()
    assert not (home / "federation.json").exists()
    assert run(["join", "--home", str(home)]) == 2
    assert "has not joined" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fedvoice1-ABC", "--voice", "."], "not a whole join code"),
        (["CODE", "--home", "{tmp}/none", "--yes"], "say where your recordings are"),
        (["CODE", "--voice", "{tmp}/nothing", "--home", "{tmp}/h", "--yes"], "no corpus at"),
        (["CODE", "--voice", "{few}", "--home", "{tmp}/h", "--yes"], "taking part needs at least 5"),
        (["CODE", "--voice", "{few}", "--home", "{tmp}/h", "--policy", "{tmp}/no.toml"], "no policy at"),
        (
            ["CODE", "--voice", "{few}", "--home", "{tmp}/h", "--policy", "{tmp}/far.toml"],
            "'cuda:99' is not there",
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    link: SmallSuperLink, voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(voice.glob("*.wav"))[:2]:
        (few / path.name).write_bytes(path.read_bytes())
        (few / path.with_suffix(".txt").name).write_text("Two words.")
    (tmp_path / "far.toml").write_text('device = "cuda:99"')
    chosen = [a.replace("CODE", link.invite()).format(tmp=tmp_path, few=few) for a in arguments]
    assert run(["join", *chosen]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert words in error
    assert not (tmp_path / "h" / "node.key").exists()


def test_a_code_that_is_of_no_use_is_noticed_before_a_recording_is_read(
    link: SmallSuperLink, voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    unknown = JoinCode.new(link.address, JoinCode.parse(link.invite()).fingerprint, 600.0).text()
    used = link.invite()
    enrol(JoinCode.parse(used), tmp_path / "other", "another device")
    for code, words in ((unknown, "unknown here"), (used, "used by another device")):
        asked = link.checked
        assert (
            run(["join", code, "--voice", str(voice), "--home", str(home), "--yes"])
            == EnrolmentError.exit_code
        )
        assert words in capsys.readouterr().err
        assert link.checked == asked + 1
        assert not home.exists(), "recordings were read, or something was written"


def test_names_that_cannot_be_seen_come_neither_from_here_nor_from_the_server(
    link: SmallSuperLink, voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, code = tmp_path / "home", link.invite()
    command = ["join", code, "--voice", str(voice), "--home", str(home), "--yes", "--enrol-only"]
    for name in ("\x1b]8;;https://example.org\x07me", "x" * 65, " "):
        assert run([*command, "--name", name]) == EnrolmentError.exit_code
        assert "cannot be a device's name" in capsys.readouterr().err
    for federation in ("\x1b[2J", "a\nb", "x" * 65, ""):
        link.federation = federation
        try:
            for asking in (
                lambda: inspect(JoinCode.parse(code), home),
                lambda: enrol(JoinCode.parse(code), home, "me"),
            ):
                with pytest.raises(EnrolmentError, match="another version"):
                    asking()
        finally:
            link.federation = "test"
    assert not (home / "federation.json").exists()


@pytest.mark.slow
def test_leaving_stops_a_join_that_runs(
    link: SmallSuperLink, voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    joining = ["join", link.invite(), "--voice", str(voice), "--home", str(home), "--name", "bob", "--yes"]
    assert run([*joining, "--enrol-only"]) == 0
    left = len(link.left)
    with joined(home) as process:
        link.wait_online()
        # A process that another computer or container would take for its own is left alone.
        lock = (home / "join.lock").read_text()
        assert int(lock) == process.pid
        (home / "join.lock").write_text(str(os.getpid()))
        assert run(["leave", "--home", str(home)]) == ServiceError.exit_code
        assert "stop it where you started it" in " ".join(capsys.readouterr().err.split())
        assert process.poll() is None
        (home / "join.lock").write_text(lock)
        assert run(["leave", "--home", str(home)]) == 0
        assert "asking it to stop" in capsys.readouterr().err
        assert process.wait(30) == 0
    assert len(link.left) == left + 1
    assert not (home / "node.key").exists()
    assert not is_held(home)


def test_unit_and_container_file_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["join", "--print-systemd", "--home", str(tmp_path)]) == 0
    unit = capsys.readouterr().out
    assert f"join --home {tmp_path}" in unit
    assert "{" not in unit
    assert run(["join", "--print-containerfile"]) == 0
    assert "RUN pip install --no-cache-dir" in capsys.readouterr().out
