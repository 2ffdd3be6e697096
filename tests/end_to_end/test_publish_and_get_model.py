"""The loop closes: a federation ends, its devices are told, they fetch its model, clone on it and speak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_device import joined, status, until
from live_home import invited
from published_home import finished_home
from tiny_federation import small_corpus

from client.home.policy import Policy
from client.live.enrolment import enrol
from client.live.inspection import inspect, verdict
from server.live.home import ServerHome
from server.live.published import published
from server.live.registry import Registry
from server.live.supervisor import Supervisor, healthy
from shared_models.base_model import packaged_base
from shared_models.errors import EnrolmentError
from simulations.cli import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHome]:
    """A federation that started from the packaged base and whose one round is done; it stays to be asked."""
    base = packaged_base()
    recipe = base.recipe.override(
        {
            "federation.rounds": 1, "federation.algorithm": "fedrep", "federation.server_optimizer": "fedavg",
            "federation.server_lr": 1.0, "arms": {},
        }
    )  # fmt: skip
    weights, folder = base.model.shared_vector() * 1.001, tmp_path_factory.mktemp("server") / "home"
    home = finished_home(folder, recipe, weights=weights, optimizer={})
    supervisor = Supervisor(home, stay=True)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        until(lambda: healthy(home), what="a server")
        yield home
    finally:
        supervisor.stop()
        thread.join(60)


@pytest.fixture
def device(server: ServerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDVOICE_BASES", str(tmp_path / "bases"))
    home = tmp_path / "device"
    enrol(invited(server), home, "alice")
    (home / "recordings.json").write_text("{}")
    return home


def _fedvoice(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulations.cli", *arguments]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=surroundings)


def test_a_code_shows_its_federation_and_is_not_used_up(
    server: ServerHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, home = invited(server), tmp_path / "device"
    assert run(["join", code.text(), "--inspect", "--home", str(home)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "Federation 'test'", "1 rounds", "Privacy: none. Updates go out unprotected", "of 8 who may join",
        "policy modes", "Not sent, ever: recordings", f"{packaged_base().model.partition.size:,}",
    ):  # fmt: skip
        assert words in said, words
    assert not home.exists()
    offer = inspect(code, home)
    assert verdict(offer, Policy(modes=("none", "central"))) is None or "policy" in str(
        verdict(offer, Policy())
    )
    assert run(["join", code.text(), "--inspect", "--json", "--home", str(home)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mode"] == "none"
    assert sum(told["parts"].values()) == told["numbers"]
    enrol(code, home, "bob")
    # Its own device may look again; another cannot, and neither can who made a code up.
    assert inspect(code, home).federation == "test"
    with pytest.raises(EnrolmentError, match="used already"):
        inspect(code, tmp_path / "another")
    with pytest.raises(EnrolmentError, match="expired"):
        inspect(invited(server, lifetime_seconds=-1.0), home)


def test_a_device_is_told_that_it_is_over_fetches_the_model_clones_and_speaks(
    server: ServerHome, device: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["join", "--get-model", "--home", str(device)]) == 2
    assert "has published no model yet" in capsys.readouterr().err

    assert run(["serve", "publish", "--home", str(server.folder)]) == 0
    assert "devices fetch it with: fedvoice join --get-model" in capsys.readouterr().out
    with joined(device) as process:
        assert process.wait(120) == 0
    said = (device.parent / "join.log").read_text()
    assert (
        "the federation 'test' has finished after round 1; a model is published: fedvoice join --get-model"
        in said
    )
    assert status(device)["state"] == "finished"

    folder = tmp_path / "model"
    assert run(["join", "--get-model", "--home", str(device), "--output", str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == f"fedvoice clone RECORDINGS --base {folder}"
    assert "unprotected" in captured.err

    corpus = small_corpus(tmp_path / "corpus", train=1, utterances=5)
    profile, wave = tmp_path / "me.voice.safetensors", tmp_path / "hello.wav"
    cloned = ["clone", str(corpus), "--base", str(folder), "--steps", "1", "--output", str(profile)]
    assert run(cloned) == 0
    # The base is found by its hash: the run and the folder may be gone.
    folder.rename(tmp_path / "moved")
    spoken = _fedvoice("speak", "Hello.", "--voice", str(profile), "--output", str(wave))
    assert spoken.returncode == 0, spoken.stderr
    assert wave.stat().st_size > 10_000


def test_only_devices_that_take_part_are_served(
    server: ServerHome, device: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if published(server) is None:
        assert run(["serve", "publish", "--home", str(server.folder)]) == 0
    from fake_device import https, new_key

    from client.live.keys import DeviceKey, _openssh

    with https(server.path("ca.pem")) as stranger:
        address = server.settings().address
        for path in (
            "/fedvoice/model",
            "/fedvoice/model/model.safetensors?offset=0",
            "/fedvoice/model/../enrol",
        ):
            assert stranger.get(f"https://{address}{path}").status_code in (401, 405)
    own = (device / "node.key").read_bytes()
    (device / "node.key").write_bytes(_openssh(new_key()))
    assert run(["join", "--get-model", "--home", str(device)]) == 2
    assert "not registered" in capsys.readouterr().err
    (device / "node.key").write_bytes(own)
    assert run(["join", "--get-model", "--home", str(device)]) == 0
    Registry(server.registry).withdraw(DeviceKey.load(device).public_pem.encode(), "revoked")
    time.sleep(1.5)
    assert run(["join", "--get-model", "--home", str(device), "--output", str(tmp_path / "again")]) == 2
    assert "withdrawn (revoked)" in capsys.readouterr().err
