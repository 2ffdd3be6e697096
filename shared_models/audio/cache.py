"""Features on disk, found again by the content that they were computed from.

The key hashes audio, text, language, alignment, settings, the phonemizer's code and ``FEATURE_VERSION``, so
that a renamed file hits, and a changed one, or a changed computation, misses. An entry that is damaged in
any way is computed again: the cache can be deleted, copied or cut short at any time without harm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from shared_models import text
from shared_models.audio.extraction import Usable, extract, features_of
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, StorageError
from shared_models.features import Features
from shared_models.files import write_atomically
from shared_models.utterance import Utterance

FEATURE_VERSION = "1"
"""Raise it whenever the same recording would give another mel, pitch, energy or durations."""

_DIGEST_BYTES = 16
_TENSORS = ("phonemes", "mel", "log_f0", "voiced", "energy", "durations")
_SIGNAL = "signals."
"""What the names of other signals begin with in an entry."""


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Computed features under ``root``. Processes may share one: entries appear whole or not at all."""

    root: Path

    def get(self, utterance: Utterance, config: FeatureConfig, usable: Usable | None = None) -> Features:
        """The utterance's features, computed only if the cache lacks them, from ``usable`` if it was read before.

        Raises :class:`AudioError` for a recording that cannot be used and :class:`StorageError` for a
        full disk.
        """
        path = self._path(utterance, config)
        found = _read(path, utterance.utterance_id)
        if found is not None:
            return found
        features = (
            extract(utterance, config) if usable is None else features_of(utterance, usable, config.signals)
        )
        write_atomically(path, _pack(features))
        return features

    def find(self, utterance: Utterance, config: FeatureConfig) -> Features | None:
        """The utterance's features if the cache holds them; raises :class:`AudioError` as :meth:`get`."""
        return _read(self._path(utterance, config), utterance.utterance_id)

    def _path(self, utterance: Utterance, config: FeatureConfig) -> Path:
        try:
            key = content_key(utterance, config)
        except OSError as error:
            raise AudioError(
                f"{error.filename} cannot be read ({error.strerror}); replace it or leave it out",
                kind="unreadable",
            ) from error
        except MemoryError as error:
            raise AudioError(
                f"{utterance.audio} is too large for the memory; cut it into sentences"
            ) from error
        return self.root / key[:2] / f"{key}.safetensors"


def content_key(utterance: Utterance, config: FeatureConfig) -> str:
    """A hash of all that an utterance's features follow from, whatever its file is called."""
    digest = hashlib.sha256()
    alignment = utterance.alignment.read_bytes() if utterance.alignment is not None else b""
    # Without any signal beside the mel, keys are those of versions that had none.
    settings = config.model_dump_json(exclude=None if config.signals else {"signals"})
    parts = (utterance.text, utterance.language, settings, FEATURE_VERSION)
    for part in (utterance.audio.read_bytes(), alignment, _text_code(), *(p.encode() for p in parts)):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _text_code() -> bytes:
    """A digest of the text front end, whose every correction changes the phonemes of some sentence."""
    digest = hashlib.sha256()
    for source in sorted(Path(text.__file__ or "").parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.digest()


def _pack(features: Features) -> bytes:
    tensors = {name: getattr(features, name) for name in _TENSORS if getattr(features, name) is not None}
    tensors |= {f"{_SIGNAL}{name}": signal for name, signal in features.signals.items()}
    body = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    return body + _digest(body)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()


def _read(path: Path, utterance_id: str) -> Features | None:
    """The entry at ``path``; None if there is none, or if it is truncated or damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if _digest(body) != digest:
        return None
    tensors: dict[str, Tensor] = load(body)
    names = [name for name in tensors if name.startswith(_SIGNAL)]
    signals = {name.removeprefix(_SIGNAL): tensors.pop(name) for name in names}
    durations = tensors.pop("durations", None)
    return Features(utterance_id=utterance_id, durations=durations, signals=signals, **tensors)


_FEWEST_FOR_WORKERS = 24  # starting a process costs about as much as extracting so many utterances


def extract_all(
    utterances: Sequence[Utterance],
    config: FeatureConfig,
    cache: FeatureCache,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Features], list[tuple[str, str]]]:
    """Features of many utterances by id, and ``(utterance_id, reason)`` of those that cannot be used.

    What the cache lacks is computed by ``workers`` processes of one thread each. The order of the result
    is that of ``utterances``, whatever the workers' order was. Raises :class:`StorageError` for a full
    disk; damaged recordings never end the run.
    """
    found: dict[str, Features] = {}
    problems: dict[str, str] = {}
    missing: list[Utterance] = []
    for utterance in utterances:
        try:
            features = cache.find(utterance, config)
        except AudioError as error:
            problems[utterance.utterance_id] = str(error)
            continue
        if features is None:
            missing.append(utterance)
        else:
            found[utterance.utterance_id] = features
    settled = len(utterances) - len(missing)
    if progress is not None:
        progress(settled, len(utterances))
    spread = workers > 1 and len(missing) >= _FEWEST_FOR_WORKERS
    compute = _in_processes(missing, config, cache, workers) if spread else _here(missing, config, cache)
    for done, (utterance, outcome) in enumerate(compute, start=settled + 1):
        if isinstance(outcome, Features):
            found[utterance.utterance_id] = outcome
        else:
            problems[utterance.utterance_id] = outcome
        if progress is not None:
            progress(done, len(utterances))
    order = [utterance.utterance_id for utterance in utterances]
    return {i: found[i] for i in order if i in found}, [(i, problems[i]) for i in order if i in problems]


def _here(
    utterances: Sequence[Utterance], config: FeatureConfig, cache: FeatureCache
) -> Iterator[tuple[Utterance, Features | str]]:
    for utterance in utterances:
        try:
            yield utterance, cache.get(utterance, config)
        except AudioError as error:
            yield utterance, str(error)


def _in_processes(
    utterances: Sequence[Utterance], config: FeatureConfig, cache: FeatureCache, workers: int
) -> Iterator[tuple[Utterance, Features | str]]:
    """As :func:`_here`, by processes that write to the cache; results are read back from there."""
    abandoned: list[Utterance] = []
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        futures = {pool.submit(_fill, utterance, config, cache): utterance for utterance in utterances}
        try:
            for future in as_completed(futures):
                try:
                    reason = future.result()
                except BrokenProcessPool:  # a worker was killed, for lack of memory as a rule
                    abandoned.append(futures[future])
                    continue
                utterance = futures[future]
                yield utterance, reason if reason is not None else cache.get(utterance, config)
        except StorageError:
            pool.shutdown(cancel_futures=True)
            raise
    yield from _here(abandoned, config, cache)


def _fill(utterance: Utterance, config: FeatureConfig, cache: FeatureCache) -> str | None:
    """In a worker: compute into the cache; the reason if the recording cannot be used."""
    try:
        cache.get(utterance, config)
    except AudioError as error:
        return str(error)
    return None
