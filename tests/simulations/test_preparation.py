"""From a corpus to devices: what is usable is used, what is not is named, and what there was stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from tiny_federation import (
    features_of_tests,
    random_speech,
    read_table,
    small_corpus,
    tiny_recipe,
    write_table,
)

from client.home.device import Device
from shared_models.audio.cache import FeatureCache
from shared_models.errors import CorpusError
from shared_models.utterance import Utterance
from simulations.preparation import default_cache, make_devices, prepare, resolve


def test_a_small_corpus_becomes_speakers_with_features(tmp_path: Path) -> None:
    root = small_corpus(tmp_path, train=2, test=1, utterances=6)
    told: list[tuple[int, int]] = []
    data = prepare(
        tiny_recipe(corpus__path=str(root)),
        features_of_tests(),
        lambda done, total: told.append((done, total)),
    )
    assert [len(u) for u in data.train.values()] == [6, 6]
    assert [len(u) for u in data.test.values()] == [6]
    assert list(data.train) == sorted(data.train)
    assert not set(data.train) & set(data.test)
    assert data.left_out == []
    assert told[-1] == (18, 18)
    assert data.cache.is_absolute()
    for utterances in data.train.values():
        for utterance in utterances:
            assert FeatureCache(data.cache).find(utterance, data.recipe.features) is not None


def test_what_is_damaged_is_left_out_and_named(tmp_path: Path) -> None:
    root = small_corpus(tmp_path, train=2, utterances=4)
    rows = read_table(root)
    (root / rows[0]["path"]).write_bytes(b"OggS and then nothing of the kind")
    cut = root / rows[5]["path"]
    cut.write_bytes(cut.read_bytes()[:60])
    (root / rows[6]["path"]).unlink()
    data = prepare(tiny_recipe(corpus__path=str(root)), features_of_tests())
    assert [len(u) for u in data.train.values()] == [3, 2]
    named = " ".join(name + reason for name, reason in data.left_out)
    assert len(data.left_out) == 3
    for row in (rows[0], rows[5], rows[6]):
        assert Path(row["path"]).name in named
    assert all(reason for _, reason in data.left_out)


def test_a_speaker_with_too_few_usable_recordings_is_no_client(tmp_path: Path) -> None:
    root = small_corpus(tmp_path, train=3, utterances=3)
    rows = read_table(root)
    for row in rows[:2]:
        (root / row["path"]).write_bytes(b"")
    data = prepare(tiny_recipe(corpus__path=str(root)), features_of_tests())
    assert list(data.train) == [rows[3]["speaker_id"], rows[6]["speaker_id"]]


def test_one_speaker_is_no_federation(tmp_path: Path) -> None:
    root = small_corpus(tmp_path, train=1, utterances=4)
    with pytest.raises(CorpusError, match=r"only one usable speaker.*at least two.*corpus inspect"):
        prepare(tiny_recipe(corpus__path=str(root)), features_of_tests())


def test_one_speaker_whose_features_can_be_computed_is_none_either(tmp_path: Path) -> None:
    root = small_corpus(tmp_path, train=2, utterances=3)
    rows = read_table(root)
    # Readable audio in a language that nothing turns into phonemes.
    strange = {"language": "xx", "alignment": ""}
    write_table(
        root, [row | (strange if number >= 3 else {"language": "en"}) for number, row in enumerate(rows)]
    )
    with pytest.raises(CorpusError, match=r"1 usable train speaker\(s\).*at least 2.*corpus inspect"):
        prepare(tiny_recipe(corpus__path=str(root)), features_of_tests())


def test_what_auto_stands_for_is_resolved_from_the_data() -> None:
    recipe = tiny_recipe(aligner__learn="auto", aligner__warmup_rounds=2, federation__cohort=50)
    aligned = {u.utterance_id: u for u in random_speech(3)}
    bare = {u.utterance_id: u for u in random_speech(3, seed=1, aligned=False)}
    known = resolve(recipe, aligned, clients=4)
    assert (known.aligner.learn, known.aligner.warmup_rounds, known.federation.cohort) == ("never", 0, 4)
    learnt = resolve(recipe, aligned | bare, clients=80)
    assert (learnt.aligner.learn, learnt.aligner.warmup_rounds, learnt.federation.cohort) == ("always", 2, 50)
    assert resolve(known, bare, clients=4) == known, "a resolved recipe stays as it is"


def test_devices_stand_in_the_speakers_order_and_keep_what_they_have(tmp_path: Path) -> None:
    speakers = {
        f"s{number:02d}": [Utterance("u", f"s{number:02d}", tmp_path / "u.wav", "Hello.")]
        for number in range(11)
    }
    root = make_devices(tmp_path / "devices", speakers, tmp_path / "cache")
    homes = sorted(path.parent for path in root.glob("*/recordings.json"))
    assert [Device.open(home).speaker for home in homes] == list(speakers)
    state = {"voices.prosody.weight": torch.ones(1, 4)}
    Device.open(homes[3]).save_personal("run", 1, state)
    before = (homes[3] / "recordings.json").stat().st_mtime_ns
    make_devices(root, speakers, tmp_path / "elsewhere")
    assert (homes[3] / "recordings.json").stat().st_mtime_ns == before
    kept = Device.open(homes[3]).load_personal("run", 2)
    assert kept is not None
    assert torch.equal(kept["voices.prosody.weight"], state["voices.prosody.weight"])


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDVOICE_CACHE", str(tmp_path / "a"))
    assert default_cache() == tmp_path / "a"
    monkeypatch.delenv("FEDVOICE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_cache() == tmp_path / "b" / "fedvoice" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert Path(os.path.expanduser("~")) in default_cache().parents  # noqa: PTH111
