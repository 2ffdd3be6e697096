"""How much of a corpus a short training reads: about as much as it is told, from as many speakers as fit."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_federation import tiny_recipe

from client import enrollment
from client.enrollment import enroll
from shared_models.errors import AudioError, CorpusError
from simulations.corpora import open_corpus
from simulations.deployment.tuning import LEAST_EACH, Tuning, limited, tuning_recipe


def write_corpus(folder: Path, speakers: int, each: int, unseen: int = 0) -> Path:
    """Speakers ``a0, b1, a2, ...`` with recordings that nobody may open, and unseen ones with many."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.wav").touch()
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "text", "speaker", "id", "split", "seconds"])
        for speaker in range(speakers + unseen):
            split = "train" if speaker < speakers else "test"
            for number in range(each):
                name = f"{'ab'[speaker % 2]}{speaker:03d}"
                table.writerow(["x.wav", "words", name, f"{name}-{number}", split, "3.0"])
    return folder


@settings(max_examples=40)
@given(
    speakers=st.integers(2, 60),
    each=st.integers(LEAST_EACH, 40),
    most=st.integers(10, 700),
    only=st.sampled_from(["*", "a*"]),
)
def test_about_as_many_utterances_as_asked_for(
    tmp_path_factory: pytest.TempPathFactory, speakers: int, each: int, most: int, only: str
) -> None:
    folder = write_corpus(tmp_path_factory.mktemp("corpus"), speakers, each, unseen=4)
    recipe = tiny_recipe()
    tuning = limited(recipe, Tuning(corpus=str(folder), only=only), most)
    config = tuning_recipe(recipe, tuning).corpus
    corpus = open_corpus(config)
    chosen = {
        name: utterances
        for name, utterances in corpus.speakers("train").items()
        if only == "*" or name.startswith("a")
    }
    listed = sum(map(len, chosen.values()))
    everybody = speakers if only == "*" else -(-speakers // 2)
    # Spread over the sorted ids, a name's share of the speakers holds only roughly.
    assert listed <= most + 2 * max(LEAST_EACH, most // everybody)
    assert listed >= min(most // 3, everybody * each // 2)
    assert all(len(utterances) >= min(each, LEAST_EACH) for utterances in chosen.values())
    assert len(corpus.speakers("test")) == 1


def test_the_bases_own_corpus_keeps_its_own_limits() -> None:
    recipe = tiny_recipe()
    config = tuning_recipe(recipe, limited(recipe, Tuning(), 600)).corpus
    assert (config.path, config.speakers, config.utterances) == ("embedded", 4, 7)
    assert tuning_recipe(recipe, Tuning()).corpus == recipe.corpus


def test_a_corpus_that_is_not_there_is_named() -> None:
    with pytest.raises(CorpusError, match="no-such-folder"):
        limited(tiny_recipe(), Tuning(corpus="no-such-folder"), 600)


@pytest.mark.parametrize(("there", "most", "read"), [(200, 50, 50), (101, 50, 34), (9, 50, 9), (9, None, 9)])
def test_a_voice_is_heard_from_the_first_recording_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, most: int | None, read: int
) -> None:
    heard: list[int] = []

    def hear(utterance: object, _features: object) -> None:
        heard.append(int(str(utterance.utterance_id).split("-")[1]))  # type: ignore[attr-defined]
        raise AudioError("not a recording")

    monkeypatch.setattr(enrollment, "require_usable", hear)
    with pytest.raises(CorpusError, match="needs at least 2"):
        enroll(write_corpus(tmp_path, 1, there), tiny_recipe(), most=most)
    assert len(heard) == read
    assert max(heard) >= there - there / read
    assert min(heard) == 0
