"""The matrix end to end: two recipes on a base of a few thousand weights, and a few of the embedded voices."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from small_base import small_base
from tiny_federation import features_of_tests, small_corpus
from whistle import Whistle

from shared_models.audio.reading import Wave
from shared_models.base_model import load_base
from shared_models.errors import MissingExtraError, RecipeError
from simulations import cli
from simulations.evaluation import unseen_speakers
from simulations.matrix import encoders, judging, matrix
from simulations.matrix.matrix import Matrix, Wishes, make_matrix
from simulations.matrix.recipes import Budget, Common, Entry

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("resemblyzer", "jiwer", "matplotlib")),
    reason="the judges are not installed",
)
SMALL = {
    "client.inner_steps": 1, "client.outer_steps": 1, "client.batch_size": 2, "client.window_frames": 64,
    "federation.cohort": 2, "evaluation.validation": 2, "cloning.support": 2,
}  # fmt: skip


class Recogniser:
    """Hears one word of every clip."""

    def __init__(self) -> None:
        self.asked = 0

    def transcribe(self, _wave: Wave, _rate: int) -> str:
        self.asked += 1
        return "nothing"


@dataclass
class Told:
    """What a matrix says of its progress, and where a test ends it."""

    stop: Callable[[str, int], None] = lambda _title, _done: None
    trained: list[str] = field(default_factory=list)

    def stage(self, title: str) -> Callable[[int, int], None]:
        return lambda done, _total: self.stop(title, done)

    def arm(self, name: str, _rounds: int) -> Callable[[dict[str, Any]], None]:
        return lambda metrics: self.trained.append(f"{name} {metrics['round']}")


def not_installed() -> None:
    raise MissingExtraError("CAM++ needs its weights")


@pytest.fixture
def recogniser(monkeypatch: pytest.MonkeyPatch) -> Recogniser:
    found = Recogniser()
    monkeypatch.setattr(unseen_speakers, "load_moonshine", lambda: found)
    monkeypatch.setattr(matrix, "load_moonshine", lambda: found)
    monkeypatch.setattr(unseen_speakers, "load_watermark", Whistle)
    monkeypatch.setattr(judging, "load_campplus", not_installed)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a base, and what the tests make of them one after the other."""
    folder = tmp_path_factory.mktemp("matrix")
    small_corpus(folder / "speech", train=2, test=2, utterances=5)
    small_base(folder)
    return folder


def wishes(place: Path, *names: str, **more: Any) -> Wishes:
    common = Common(
        str(place / "speech"), Budget(steps=8), str(place / "base1.safetensors"), changes=SMALL, **more
    )
    return Wishes(names, common, support=2, sentences=1, steps=(1,), vocoder="griffin_lim")


def made(place: Path, asked: Wishes, told: Told | None = None) -> Matrix:
    return make_matrix(asked, place / "out", features_of_tests(), told or Told())


@pytest.mark.slow
def test_recipes_are_trained_alike_and_judged_and_an_interrupted_matrix_goes_on(
    place: Path, recogniser: Recogniser
) -> None:
    asked = wishes(place, "adaspeech", "stylespeech")

    def end(title: str, done: int) -> None:
        if title == "stylespeech: unseen speakers" and done == 1:
            raise KeyboardInterrupt

    first = Told(end)
    with pytest.raises(KeyboardInterrupt):
        made(place, asked, first)
    # 8 steps are 2 rounds of 2 devices that take an inner and an outer step each.
    assert first.trained == ["federated 1", "federated 2"] * 2
    partial = json.loads((place / "out" / "results.json").read_text())
    assert {row["name"] for row in partial["rows"]} == {"real", "copied", "public start", "adaspeech"}

    second, recogniser.asked = Told(), 0
    found = made(place, asked, second)
    assert second.trained == [], "trained again"
    assert recogniser.asked == 1, "the one clip that was not judged yet: nothing else is heard again"
    assert [(row.name, row.way) for row in found.rows] == [
        ("real", "real"), ("copied", "copied"),
        *[(name, way) for name in ("public start", "adaspeech") for way in ("zero-shot", "1 steps")],
        ("stylespeech", "zero-shot"),
    ]  # fmt: skip
    trained = found.trained
    assert trained["adaspeech"].from_start == 1
    assert 0.3 < trained["stylespeech"].from_start < 1
    assert trained["adaspeech"].steps == trained["stylespeech"].steps == 8
    assert trained["stylespeech"].numbers == 0
    assert not trained["stylespeech"].adapts
    start = load_base(place / "base1.safetensors")
    assert trained["adaspeech"].numbers == start.model.personal_size.numbers
    assert trained["adaspeech"].weights != start.hash
    by_name = {(row.name, row.way): row for row in found.rows}
    assert by_name["real", "real"].metrics["resemblyzer"].mean > 0.7
    assert by_name["real", "real"].metrics["mcd"].mean == pytest.approx(0, abs=1e-6)
    assert (
        by_name["copied", "copied"].metrics["mcd"].mean
        < by_name["adaspeech", "zero-shot"].metrics["mcd"].mean
    )
    adapted, heard = by_name["adaspeech", "1 steps"], by_name["adaspeech", "zero-shot"]
    assert adapted.metrics["seconds"].mean > 0
    assert all(own["mcd"] != heard.speakers[name]["mcd"] for name, own in adapted.speakers.items())
    assert not list((place / "out").rglob("devices"))
    stored = json.loads((place / "out" / "results.json").read_text())
    assert [row["name"] for row in stored["rows"]] == [row.name for row in found.rows]
    assert stored["trained"]["adaspeech"]["steps"] == 8
    assert (place / "out" / "matrix.png").read_bytes().startswith(b"\x89PNG")
    page = (place / "out" / "table.md").read_text()
    assert "| stylespeech | zero-shot |" in page
    assert "| adaspeech | fedrep | 8 |" in page


@pytest.mark.slow
@pytest.mark.usefixtures("recogniser")
def test_a_recipe_that_fails_is_named_and_the_others_are_there(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = wishes(place, "lora", "adaspeech")
    real = matrix.train

    def fails(entry: Entry, *rest: Any) -> Any:
        if entry.name == "lora":
            raise RecipeError("the rank does not fit")
        return real(entry, *rest)

    monkeypatch.setattr(matrix, "train", fails)
    found = made(place, asked)
    assert found.failed == {"lora": "RecipeError: the rank does not fit"}
    assert "fails" in (place / "out" / "failed-lora.txt").read_text()
    assert "adaspeech" in found.trained
    assert "- lora: RecipeError: the rank does not fit" in (place / "out" / "table.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("recogniser")
def test_encoders_are_trained_once_and_their_orderings_are_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {
        "ecapa": {"channels": 16, "width": 8}, "x_vector": {"channels": 8, "aggregated": 12, "width": 8},
        "d_vector": {"hidden": 12, "layers": 1, "width": 8},
    }  # fmt: skip
    own = {"speakers": 2, "utterances": 2, "frames": 40, "trial_utterances": 3}
    monkeypatch.setattr(
        encoders, "PUBLISHED",
        {kind: {**loss, **own, "sizes": small[kind]} for kind, loss in encoders.PUBLISHED.items()},
    )  # fmt: skip
    asked = replace(wishes(place), encoder_steps=2)
    found = made(place, asked)
    assert found.failed == {}
    assert list(found.rates) == ["ecapa", "x_vector", "d_vector"]
    assert all(0 <= rate.mean <= 1 for rate in found.rates.values())
    assert [one.claim.split()[0] for one in found.orderings] == ["ecapa", "x_vector"]

    def again(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(encoders, "train_encoder", again)
    assert made(place, asked).rates == found.rates


def test_two_words_are_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "matrix", "--output", str(tmp_path / "out")]
    assert cli.run([*arguments, "--recipes", "adaspeech,telepathy"]) == RecipeError.exit_code
    assert "no recipe 'telepathy'" in capsys.readouterr().err
    assert cli.run([*arguments, "--budget", "much"]) == RecipeError.exit_code
    assert "--budget takes steps" in capsys.readouterr().err
    # A run folder whose name it is is still judged by its path.
    assert cli.run(["evaluate", "./matrix"]) != 0
    assert "is not a run folder" in capsys.readouterr().err
