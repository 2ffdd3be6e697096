"""``fedvoice join`` and ``fedvoice leave`` as their user types them."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_federation import small_corpus

sys.path.insert(0, str(Path(__file__).parent))
from small_superlink import SmallSuperLink, superlink

from client.device import Device
from client.live.home import Membership
from client.policy import load_policy
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
    chosen = [a.replace("CODE", link.invite()).format(tmp=tmp_path, few=few) for a in arguments]
    assert run(["join", *chosen]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert words in error
    assert not (tmp_path / "h" / "node.key").exists()


def test_unit_and_container_file_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["join", "--print-systemd", "--home", str(tmp_path)]) == 0
    unit = capsys.readouterr().out
    assert f"join --home {tmp_path}" in unit
    assert "{" not in unit
    assert run(["join", "--print-containerfile"]) == 0
    assert "RUN pip install --no-cache-dir" in capsys.readouterr().out
