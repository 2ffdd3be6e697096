"""The waves that a vocoder is trained on: one memory-mapped file of 16-bit samples, and its index.

Segments are read at random places, thousands a minute; decoding recordings anew each time would cost more
than training on them. The file holds every recording as the acoustic features see it: trimmed, levelled and
at 22,050 Hz. It is built once; whoever trains on it again, or goes on after a kill, finds it there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shared_models.audio.alignment import read_alignment
from shared_models.audio.extraction import load_speech
from shared_models.audio.wave_segments import Samples, long_enough, to_int16
from shared_models.config import FeatureConfig, Recipe
from shared_models.errors import AudioError, CorpusError
from shared_models.files import storage_problems, sync_folder, write_atomically
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus

_FORMAT = "fedvoice-waves-1"


@dataclass(frozen=True, slots=True)
class VocoderWaves:
    """Recordings by speaker, ``(samples,)`` int16 each, mapped from disk."""

    train: dict[str, list[Samples]]
    test: dict[str, list[Samples]]
    """Of speakers that training never hears."""
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Utterance and why it is not used."""

    def long_enough(self, frames: int) -> VocoderWaves:
        """Only the recordings that hold ``frames`` frames. Raises :class:`CorpusError` if none is left."""
        train, test = (_fitting(split, frames) for split in (self.train, self.test))
        if not train:
            raise CorpusError(
                f"no train recording of the corpus holds vocoder.segment_frames={frames} frames: lower it, or "
                "add longer recordings"
            )
        return VocoderWaves(train, test, self.left_out)


def prepare_waves(
    recipe: Recipe, folder: Path, progress: Callable[[int, int], None] | None = None
) -> VocoderWaves:
    """The corpus's waves, from ``folder`` if they were built there, else built now.

    Of unseen speakers no more than the validation needs. The waves of another corpus, or of other settings,
    are replaced. Raises :class:`CorpusError` for a corpus without usable recordings.
    """
    index = folder / "waves.json"
    asked = f"{recipe.corpus.model_dump_json()} {recipe.features.model_dump_json()}"
    found = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    if found.get("format") == _FORMAT and found.get("of") == asked:
        return _map(folder, found)
    index.unlink(missing_ok=True)
    corpus = open_corpus(recipe.corpus)
    utterances = [u for u in corpus.utterances if u.split == "train"]
    for recordings in corpus.speakers("test").values():
        utterances += list(recordings)[: recipe.vocoder.validation_recordings]
    listed, left_out = _write(utterances, recipe.features, folder / "waves.i16", progress)
    if not any(entry["split"] == "train" for entry in listed):
        raise CorpusError(
            f"the corpus {recipe.corpus.path} has no usable train recording: see `fedvoice corpus inspect`"
        )
    left_out = [(str(problem.path), problem.reason) for problem in corpus.problems] + left_out
    written = {"format": _FORMAT, "of": asked, "recordings": listed, "left_out": left_out}
    write_atomically(index, json.dumps(written) + "\n")
    return _map(folder, written)


def _write(
    utterances: Sequence[Utterance],
    features: FeatureConfig,
    path: Path,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[dict[str, str | int]], list[tuple[str, str]]]:
    """Write all usable waves behind one another: where each one lies, and what was left out and why."""
    listed: list[dict[str, str | int]] = []
    left_out: list[tuple[str, str]] = []
    start = 0
    with storage_problems(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for done, utterance in enumerate(utterances, start=1):
                try:
                    wave = _wave(utterance, features)
                    file.write(wave.tobytes())
                    place = {"start": start, "samples": len(wave)}
                    listed.append({"speaker": utterance.speaker_id, "split": utterance.split, **place})
                    start += len(wave)
                except AudioError as error:
                    left_out.append((utterance.utterance_id, str(error)))
                if progress is not None:
                    progress(done, len(utterances))
            # The index, written afterwards, vouches for the content.
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    return listed, left_out


def _wave(utterance: Utterance, features: FeatureConfig) -> Samples:
    phones = read_alignment(utterance.alignment) if utterance.alignment is not None else None
    return to_int16(load_speech(utterance.audio, features, phones).wave)


def _map(folder: Path, found: dict[str, Any]) -> VocoderWaves:
    path = folder / "waves.i16"
    listed = found["recordings"]
    end = max(entry["start"] + entry["samples"] for entry in listed)
    if not path.exists() or path.stat().st_size < end * np.dtype(np.int16).itemsize:
        raise CorpusError(f"{path} is missing or cut short: remove {folder}, and it is built again")
    samples = np.memmap(path, dtype=np.int16, mode="r")
    splits: dict[str, dict[str, list[Samples]]] = {"train": {}, "test": {}}
    for entry in listed:
        wave = samples[entry["start"] : entry["start"] + entry["samples"]]
        splits[entry["split"]].setdefault(entry["speaker"], []).append(wave)
    # By name, so that a seed draws the same speakers whatever order a corpus lists them in.
    train, test = (dict(sorted(splits[split].items())) for split in ("train", "test"))
    return VocoderWaves(train, test, [(str(name), str(why)) for name, why in found.get("left_out", ())])


def _fitting(speakers: dict[str, list[Samples]], frames: int) -> dict[str, list[Samples]]:
    kept = {name: [r for r in waves if long_enough(len(r), frames)] for name, waves in speakers.items()}
    return {name: waves for name, waves in kept.items() if waves}
