"""A device's features, read one by one from its cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from shared_models.audio.cache import FeatureCache
from shared_models.config import FeatureConfig
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
