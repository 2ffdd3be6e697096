"""The cache: hits by content, misses by any change, and no damage that it does not mend."""

from __future__ import annotations

import errno
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_sentences import record

from shared_models.audio import cache as cache_module
from shared_models.audio.alignment import Phone, write_phones
from shared_models.audio.cache import FeatureCache, content_key, extract_all
from shared_models.audio.extraction import extract
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, StorageError
from shared_models.features import Features
from shared_models.utterance import Utterance

CONFIG = FeatureConfig()


def same(first: Features, second: Features) -> bool:
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(Features)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def entries(cache: FeatureCache) -> list[Path]:
    return sorted(path for path in cache.root.rglob("*") if path.is_file())


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def utterance(tmp_path: Path) -> Utterance:
    return record(tmp_path, "one")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the utterances whose features were computed, not found."""
    ids: list[str] = []

    def counting(utterance: Utterance, config: FeatureConfig) -> Features:
        ids.append(utterance.utterance_id)
        return extract(utterance, config)

    monkeypatch.setattr(cache_module, "extract", counting)
    return ids


def test_second_time_is_found_and_equal(
    cache: FeatureCache, utterance: Utterance, computed: list[str]
) -> None:
    first, second = cache.get(utterance, CONFIG), cache.get(utterance, CONFIG)
    assert computed == ["one"]
    assert same(first, second)
    assert same(first, extract(utterance, CONFIG))


def test_renamed_recording_is_found_under_its_new_id(
    cache: FeatureCache, utterance: Utterance, computed: list[str], tmp_path: Path
) -> None:
    cache.get(utterance, CONFIG)
    moved = utterance.audio.rename(tmp_path / "elsewhere.wav")
    found = cache.get(replace(utterance, audio=moved, utterance_id="two", speaker_id="bert"), CONFIG)
    assert computed == ["one"]
    assert found.utterance_id == "two"


def test_alignment_is_kept_with_its_durations(
    cache: FeatureCache, utterance: Utterance, tmp_path: Path
) -> None:
    write_phones(tmp_path / "one.phones", [Phone(0.25, 1.75, "ə")])
    aligned = replace(utterance, alignment=tmp_path / "one.phones")
    cache.get(utterance, CONFIG)
    first, second = cache.get(aligned, CONFIG), cache.get(aligned, CONFIG)
    assert first.durations is not None
    assert same(first, second)


def test_every_change_of_what_counts_is_another_key(
    utterance: Utterance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "a.phones"
    write_phones(table, [Phone(0, 1, "ə")])
    aligned = replace(utterance, alignment=table)
    keys = [
        content_key(utterance, CONFIG),
        content_key(replace(utterance, text="a dog"), CONFIG),
        content_key(replace(utterance, language="zh"), CONFIG),
        content_key(record(tmp_path, "two", hertz=150), CONFIG),
        content_key(utterance, FeatureConfig(trim_silence=False)),
        content_key(utterance, FeatureConfig(level_dbfs=None)),
        content_key(aligned, CONFIG),
    ]
    write_phones(table, [Phone(0, 2, "ə")])
    keys.append(content_key(aligned, CONFIG))
    monkeypatch.setattr(cache_module, "FEATURE_VERSION", "another")
    keys.append(content_key(utterance, CONFIG))
    monkeypatch.setattr(cache_module, "_text_code", lambda: b"another phonemizer")
    keys.append(content_key(utterance, CONFIG))
    assert len(set(keys)) == len(keys)


@given(cut=st.floats(0, 0.999), flip=st.booleans())
@settings(max_examples=25)
def test_damaged_entry_is_computed_again(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flip: bool
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    utterance, cache = record(folder, "one", seconds=0.5), FeatureCache(folder / "cache")
    expected = cache.get(utterance, CONFIG)
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    position = int(cut * len(whole))
    damaged = bytearray(whole)
    damaged[position] ^= 0xFF
    entry.write_bytes(bytes(damaged) if flip else whole[:position])
    assert cache.find(utterance, CONFIG) is None
    assert same(cache.get(utterance, CONFIG), expected)
    assert entry.read_bytes() == whole


def test_full_disk_is_a_storage_error_and_leaves_nothing(
    cache: FeatureCache, utterance: Utterance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="full"):
        cache.get(utterance, CONFIG)
    with pytest.raises(StorageError, match="full"):
        extract_all([utterance], CONFIG, cache)
    assert entries(cache) == []


def test_missing_recording_is_an_audio_error(cache: FeatureCache, utterance: Utterance) -> None:
    utterance.audio.unlink()
    with pytest.raises(AudioError, match=r"one\.wav"):
        cache.get(utterance, CONFIG)


def corpus(folder: Path, count: int) -> list[Utterance]:
    """Good recordings, the third damaged and the last one missing."""
    made = [record(folder, f"u{i}", seconds=0.4, hertz=100 + i) for i in range(count)]
    made[2].audio.write_bytes(b"no audio")
    made[-1].audio.unlink()
    return made


def test_all_of_a_corpus_but_the_damaged(cache: FeatureCache, tmp_path: Path, computed: list[str]) -> None:
    utterances = corpus(tmp_path, 6)
    seen: list[tuple[int, int]] = []
    found, problems = extract_all(utterances, CONFIG, cache, progress=lambda *at: seen.append(at))
    assert list(found) == ["u0", "u1", "u3", "u4"]
    assert [i for i, _ in problems] == ["u2", "u5"]
    assert "u2.wav" in problems[0][1]
    assert seen[-1] == (6, 6)
    assert seen == sorted(seen)
    computed.clear()
    again, _ = extract_all(utterances, CONFIG, cache)
    assert computed == ["u2"]
    assert all(same(found[i], again[i]) for i in found)


@pytest.fixture
def _spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_FEWEST_FOR_WORKERS", 24)


@pytest.mark.slow
@pytest.mark.usefixtures("_spread")
def test_processes_find_what_one_process_finds(cache: FeatureCache, tmp_path: Path) -> None:
    utterances = corpus(tmp_path, 26)
    found, problems = extract_all(utterances, CONFIG, cache, workers=2)
    alone, same_problems = extract_all(utterances, CONFIG, FeatureCache(tmp_path / "other"), workers=1)
    assert list(found) == list(alone)
    assert problems == same_problems
    assert all(same(found[i], alone[i]) for i in found)
    assert len(found) == 24


@pytest.mark.slow
@pytest.mark.usefixtures("_spread")
def test_a_killed_worker_costs_nothing_but_time(
    cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_fill", _die)
    found, problems = extract_all(corpus(tmp_path, 26), CONFIG, cache, workers=2)
    assert len(found) == 24
    assert len(problems) == 2


def _die(*_: object) -> None:
    os._exit(9)
