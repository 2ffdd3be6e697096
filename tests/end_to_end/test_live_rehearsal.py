"""A real server and real devices over TLS end with the very weights of the simulation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from live_rehearsals import Told, federation_of, tiny_changes, tiny_plan
from tiny_federation import features_of_tests

from client.rounds.outbox import Outbox
from shared_models.errors import StorageError
from simulations.cli import run
from simulations.rehearsal.comparison import compare, simulate_the_same
from simulations.rehearsal.live_federation import Network, free_port
from simulations.rehearsal.rehearsal import rehearse
from simulations.rehearsal.wire_tap import WireTap

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_live_weights_equal_the_simulations_as_it_is_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(features_of_tests()))
    sets = [word for change in tiny_changes() for word in ("--set", change)]
    command = ["rehearse", "--devices", "2", "--rounds", "3", *sets, "--output", str(tmp_path / "kept")]
    assert run([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    print(figures)
    assert figures["equal"]
    assert figures["largest_difference"] == figures["largest_personal_difference"] == 0.0
    assert (figures["rounds"], len(figures["live_seconds"]), figures["processes_left_behind"]) == (3, 3, 0)
    # One update each way a round, and a message's few kilobytes.
    size = (tmp_path / "kept" / "live" / "server" / "federation.json").read_text()
    update = json.loads(size)["update_bytes"]
    for name in ("bytes_sent_a_device_and_round", "bytes_received_a_device_and_round"):
        assert update <= figures[name] <= update + 20_000, name
    rounds = (tmp_path / "kept" / "live" / "server" / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(line)["clients"] for line in rounds] == [2, 2, 2]
    assert run(command) == StorageError.exit_code
    assert "is not empty" in capsys.readouterr().err


def test_a_partial_cohort_compressed_and_cut_in_the_middle_of_a_message_equals_too(tmp_path: Path) -> None:
    # Kinds that round at random do so by the operating system's dice on a real device, and repeat for nobody.
    plan = tiny_plan(
        devices=3,
        rounds=3,
        federation__cohort=2,
        compression__up="float16",
        compression__down="float16",
        compression__delta="true",
    )
    address, server = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with federation_of(plan, tmp_path, Network(server, address)) as live:
        live.serve()
        with WireTap(live.home.folder, address, server) as tap:
            live.join_all()
            # A device's polls are small: so many bytes are said in the middle of an update.
            tap.cut_after(live.home.settings().update_bytes // 4)
            live.watch()
            assert tap.cuts == 1
    assert not live.left_behind
    simulated = simulate_the_same(tmp_path / "simulation", plan.recipe, plan.prepared)
    homes = [live.device_home(number) for number in range(plan.devices)]
    found = compare(live.home.checkpoints, homes, live.home.settings().run, simulated, 3)
    assert found.equal, found
    assert [line["clients"] for line in live.rounds()] == [2, 2, 2]
    assert all(Outbox(home / "outbox").folder.is_dir() for home in homes)


@pytest.mark.realspeech
def test_three_real_speakers_three_rounds(tmp_path: Path, speech_path: Path) -> None:
    plan = tiny_plan(devices=3, rounds=3, corpus=str(speech_path))
    assert plan.recipe.aligner.learn == "always"
    told = Told()
    outcome = rehearse(plan, tmp_path, told)
    figures = outcome.figures()
    print(figures)
    assert figures["equal"], figures
    assert [line["clients"] for line in outcome.rounds] == [3] * 3
    assert max(view.online for view in told.views) == 3
