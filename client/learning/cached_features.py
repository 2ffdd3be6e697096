"""A device's features, read one by one from its cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from shared_models.audio.cache import FeatureCache
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, TextError
from shared_models.features import Features
from shared_models.utterance import Utterance


class CachedFeatures(Sequence[Features]):
    """The features of recordings, each read from its cache when it is first asked for."""

    def __init__(self, recordings: Sequence[Utterance], cache: Path, config: FeatureConfig) -> None:
        self._recordings = recordings
        self._cache = cache
        self._config = config

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return _features(self._cache, self._recordings[index], self._config)


@lru_cache(maxsize=1024)
def _features(cache: Path, recording: Utterance, config: FeatureConfig) -> Features:
    return FeatureCache(cache).get(recording, config)


def usable_now(
    recordings: Sequence[Utterance], cache: Path, config: FeatureConfig
) -> tuple[list[Utterance], list[str]]:
    """The recordings that can be trained on now, and why others cannot, a sentence each.

    Files that were enrolled may have been removed, moved or damaged since. What the cache holds of a recording that its
    owner removed is not used either.
    """
    usable: list[Utterance] = []
    reasons: list[str] = []
    for recording in recordings:
        files = [path for path in (recording.audio, recording.alignment) if path is not None]
        try:
            stamps = tuple(_stamp(path) for path in files)
        except OSError as error:
            reasons.append(f"{error.filename} cannot be read any more ({error.strerror})")
            continue
        reason = _reason(cache, recording, config, stamps)
        if reason is None:
            usable.append(recording)
        else:
            reasons.append(reason)
    return usable, reasons


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with a file's content: when it was written, and its size."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=100_000)
def _reason(
    cache: Path, recording: Utterance, config: FeatureConfig, stamps: tuple[tuple[int, int], ...]
) -> str | None:
    """Why a recording cannot be used as its files are; None if it can. Asked once for each state of the files."""
    del stamps  # of the key alone
    try:
        FeatureCache(cache).get(recording, config)
    except (AudioError, TextError) as error:
        return str(error)
    return None
