"""A finished run is judged again, on whatever unseen speakers one asks for."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from small_recipe import small_recipe
from typer.testing import CliRunner

from server.app import plan_for
from server.checkpoints import Checkpoint, save_checkpoint
from shared_models.accounting import SampledGaussian, epsilon_of
from shared_models.errors import CorpusError, RecipeError
from simulations import cli
from simulations.corpora.embedded import ROOT
from simulations.evaluation.finished_run import choose_arm, evaluate_arm
from simulations.run_folder import RunFolder

runner = CliRunner()
NOISE, RATE, ROUNDS, DELTA = 0.9, 0.02, 2, 1e-6
needs_verifier = pytest.mark.skipif(
    importlib.util.find_spec("resemblyzer") is None, reason="the verifier's weights are not installed"
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run whose two federated arms kept their initial weights."""
    recipe = small_recipe(
        arms={
            "centralised": {"federation.algorithm": "centralised"},
            "federated": {},
            "federated_dp": {
                "privacy.mode": "central", "privacy.noise_multiplier": NOISE, "privacy.delta": DELTA,
            },
            "local": {"federation.algorithm": "local"},
        }
    )  # fmt: skip
    made = RunFolder.create(tmp_path / "run", recipe)
    for name in ("federated", "federated_dp"):
        arm = recipe.arm(name).override({"aligner.learn": "never"})
        plan = plan_for(arm, made.arm(name).checkpoints, name, 3)
        accountant = {"releases": [[NOISE, RATE, ROUNDS]]} if name == "federated_dp" else None
        checkpoint = Checkpoint(
            ROUNDS, plan.initial, plan.partition.schema, arm.model_dump_json(), accountant=accountant
        )
        save_checkpoint(plan.folder, checkpoint)
    return made


def test_the_arm_that_a_run_is_for_comes_first(run: RunFolder) -> None:
    assert choose_arm(run, None) == "federated_dp"
    assert choose_arm(run, "local") == "local"
    with pytest.raises(RecipeError, match="federated_dp"):
        choose_arm(run, "federated-dp")


def test_help_names_every_option() -> None:
    shown = runner.invoke(cli.app, ["evaluate", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for option in ("--arm", "--corpus", "--queries", "--speakers", "--cache", "--json"):
        assert option in shown


@pytest.mark.slow
@needs_verifier
def test_the_command_prints_figures_that_the_folder_holds(run: RunFolder, tmp_path: Path) -> None:
    arguments = ["evaluate", str(run.path), "--speakers", "1", "--cache", str(tmp_path / "cache"), "--json"]
    shown = runner.invoke(cli.app, arguments)
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["unseen_speakers"] == 1
    arm = found["arms"]["federated_dp"]
    assert arm["metrics"]["mcd_after"]["n"] == 1
    assert arm["epsilon"]["epsilon"] == pytest.approx(
        epsilon_of([SampledGaussian(NOISE, RATE, ROUNDS)], DELTA)
    )
    folder = Path(found["folder"])
    assert folder.parent == run.path / "evaluations"
    assert (
        json.loads((folder / "results.json").read_text())["arms"]["federated_dp"]["metrics"] == arm["metrics"]
    )
    assert (folder / arm["speakers"][0]["audio"]["after"]).stat().st_size > 1000

    before = {p: p.stat().st_mtime_ns for p in folder.rglob("evaluation/*.json")}
    assert len(before) == 2
    again = json.loads(runner.invoke(cli.app, arguments).stdout)
    assert again == found
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("evaluation/*.json")}, "computed again"


@pytest.mark.slow
@needs_verifier
def test_other_speakers_and_other_queries_are_other_evaluations(run: RunFolder, tmp_path: Path) -> None:
    corpus = _corpus_of(tmp_path / "other", "test", ("k_bf_lily", "k_am_puck"), utterances=7)
    cache = tmp_path / "cache"
    one = evaluate_arm(run, "federated", corpus=str(corpus), queries=1, speakers=1, cache=cache)
    two = evaluate_arm(run, "federated", corpus=str(corpus), queries=2, speakers=1, cache=cache)
    assert one["corpus"] == "other"
    assert one["folder"] != two["folder"]
    assert [s["speaker"] for s in one["arms"]["federated"]["speakers"]] == ["k_am_puck"]
    assert one["arms"]["federated"]["epsilon"] is None
    assert one["arms"]["federated"]["metrics"] != two["arms"]["federated"]["metrics"]


def test_a_corpus_without_unseen_speakers(run: RunFolder, tmp_path: Path) -> None:
    corpus = _corpus_of(tmp_path / "seen", "train", ("k_bf_lily", "k_am_puck"), utterances=2)
    with pytest.raises(CorpusError, match="no unseen speaker"):
        evaluate_arm(run, "federated", corpus=str(corpus), cache=tmp_path / "cache")


def test_recordings_that_the_model_cannot_align(run: RunFolder, tmp_path: Path) -> None:
    corpus = _corpus_of(tmp_path / "bare", "test", ("k_bf_lily", "k_am_puck"), utterances=6, aligned=False)
    with pytest.raises(RecipeError, match="no aligner"):
        evaluate_arm(run, "federated", corpus=str(corpus), cache=tmp_path / "cache")


def test_an_arm_without_weights(run: RunFolder) -> None:
    done = runner.invoke(cli.app, ["evaluate", str(run.path), "--arm", "centralised"])
    assert done.exit_code != 0
    assert "has no checkpoint" in str(done.exception)


def _corpus_of(
    folder: Path, split: str, speakers: tuple[str, ...], *, utterances: int, aligned: bool = True
) -> Path:
    """A corpus of some embedded voices, all in one split."""
    import csv

    with (ROOT / "metadata.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["speaker_id"] in speakers]
    kept = [r for s in speakers for r in [row for row in rows if row["speaker_id"] == s][:utterances]]
    folder.mkdir()
    for row in kept:
        row["split"], row["role"] = split, ""
        (folder / row["path"]).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / row["path"], folder / row["path"])
        if row.get("alignment"):
            if aligned:
                shutil.copy(ROOT / row["alignment"], folder / row["alignment"])
            else:
                row["alignment"] = ""
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, kept[0].keys())
        writer.writeheader()
        writer.writerows(kept)
    return folder
