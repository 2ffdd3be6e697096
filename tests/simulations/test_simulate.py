"""A whole simulation on a corpus with damage in it: one run, looked at from all sides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_federation import features_of_tests, read_table, small_corpus, tiny_recipe

from server.checkpoints import latest_checkpoint
from shared_models.config import Recipe
from shared_models.shown_epsilon import epsilon_shown
from simulations.run_folder import RunFolder
from simulations.simulate import simulate

pytestmark = pytest.mark.slow
ARMS: dict[str, dict[str, Any]] = {
    "centralised": {"federation.algorithm": "centralised"},
    "federated": {},
    "federated_dp": {
        "privacy.mode": "central",
        "privacy.noise_multiplier": 1.0,
        "federation.sampling": "poisson",
    },
    "local": {"federation.algorithm": "local"},
}


class Told:
    """Keeps what a simulation tells whoever watches."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.rounds: dict[str, list[int]] = {}

    def stage(self, title: str) -> Callable[[int, int], None]:
        self.stages.append(title)
        return lambda *_: None

    def arm(self, name: str, rounds: int) -> Callable[[dict[str, Any]], None]:  # noqa: ARG002
        seen = self.rounds.setdefault(name, [])
        return lambda metrics: seen.append(metrics["round"])


class Finished:
    """A finished run and all that was said of it."""

    def __init__(self, folder: Path) -> None:
        self.corpus = small_corpus(folder / "corpus", train=3, test=2, utterances=7)
        self.damaged = Path(read_table(self.corpus)[1]["path"]).name
        (self.corpus / read_table(self.corpus)[1]["path"]).write_bytes(b"OggS" + bytes(200))
        self.recipe: Recipe = tiny_recipe(
            corpus__path=str(self.corpus), federation__rounds=2, federation__cohort=2, arms=ARMS,
            evaluation__speakers=2, client__outer_steps=1,
        )  # fmt: skip
        self.run = RunFolder.create(folder / "run", self.recipe)
        self.told = Told()
        self.results = simulate(self.run, self.recipe, self.told, cache=features_of_tests())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("simulate"))


def test_the_results_say_what_was_found(finished: Finished) -> None:
    results = finished.results
    assert {
        "recipe",
        "arms",
        "anchors",
        "speakers",
        "unseen_speakers",
        "left_out",
        "seconds",
        "notes",
    } <= set(results)
    assert (results["recipe"], results["speakers"], results["unseen_speakers"]) == ("tiny", 3, 2)
    assert list(results["arms"]) == list(ARMS)
    assert set(results["anchors"]) == {"real", "copy_synthesis", "different_speaker_real"}
    for name, arm in results["arms"].items():
        assert {"algorithm", "description", "epsilon", "metrics", "speakers"} <= set(arm)
        assert len(arm["speakers"]) == 2
        found = arm["metrics"]["mcd_after"]
        assert found["low"] <= found["mean"] <= found["high"]
        assert (found["n"], name) == (2, name)


def test_the_results_file_is_what_was_returned_and_plain_json(finished: Finished) -> None:
    stored = json.loads((finished.run.path / "results.json").read_text(), parse_constant=pytest.fail)
    assert set(stored) == set(finished.results)
    assert stored["arms"]["federated"]["metrics"] == finished.results["arms"]["federated"]["metrics"]


def test_a_damaged_recording_is_reported_and_ends_nothing(finished: Finished) -> None:
    assert finished.results["left_out"] == 1
    assert any(finished.damaged in note for note in finished.results["notes"])
    assert finished.damaged in finished.run.report_path.read_text(encoding="utf-8")
    devices = finished.run.arm("federated").devices
    assert not any(finished.damaged in home.read_text() for home in devices.glob("*/recordings.json"))


def test_privacy_is_stated_for_the_arm_that_has_it(finished: Finished) -> None:
    arms = finished.results["arms"]
    assert arms["federated"]["epsilon"] is arms["local"]["epsilon"] is arms["centralised"]["epsilon"] is None
    stated = arms["federated_dp"]["epsilon"]
    last = finished.run.arm("federated_dp").metrics()[-1]
    assert stated["epsilon"] == pytest.approx(last["epsilon"])
    assert (stated["rounds"], stated["unit"], stated["simulated_cohort"]) == (2, "person", 2)
    assert f"epsilon {epsilon_shown(stated['epsilon'])} at" in stated["statement"]
    told = {name: arm["protection"] for name, arm in arms.items()}
    assert told == {"centralised": "unprotected", "federated": "unprotected", "federated_dp": "central",
                    "local": "nothing sent"}  # fmt: skip


def test_every_round_is_in_the_metrics_once(finished: Finished) -> None:
    for name in ("centralised", "federated", "federated_dp"):
        metrics = finished.run.arm(name).metrics()
        assert [m["round"] for m in metrics] == [1, 2]
        assert finished.told.rounds[name] == [1, 2]
        assert all(m["validation_loss"] > 0 for m in metrics)
        assert all(m["train_loss"] is None or m["train_loss"] > 0 for m in metrics)


def test_the_files_that_the_results_name_are_there(finished: Finished) -> None:
    assert finished.run.report_path.stat().st_size > 10_000
    for arm in finished.results["arms"].values():
        for speaker in arm["speakers"]:
            assert set(speaker["audio"]) >= {"real", "after"}
            assert all((finished.run.path / path).stat().st_size > 1000 for path in speaker["audio"].values())
    for name in ("centralised", "federated", "federated_dp"):
        assert list((finished.run.tensorboard_path / name).iterdir())


def test_arms_differ_and_start_alike(finished: Finished) -> None:
    last = {name: latest_checkpoint(finished.run.arm(name).checkpoints) for name in ARMS}
    assert last["local"] is None
    weights = [found.weights for found in last.values() if found is not None]
    assert len(weights) == 3
    assert not any(torch.equal(weights[0], other) for other in weights[1:])
    assert all(torch.isfinite(one).all() for one in weights)


def test_a_finished_run_that_is_resumed_trains_and_judges_nothing_again(finished: Finished) -> None:
    files = [p for p in (finished.run.path / "arms").rglob("*") if p.is_file() and p.name != "training.jsonl"]
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in files}
    results = simulate(finished.run, finished.recipe, Told(), cache=features_of_tests())
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in files} == before
    for name in ARMS:
        assert results["arms"][name]["metrics"] == finished.results["arms"][name]["metrics"]
