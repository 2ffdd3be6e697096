"""The waves that a vocoder is trained on: one memory-mapped file of 16-bit samples, and its index.

Segments are read at random places, thousands a minute; decoding recordings anew each time would cost more
than training on them. The file holds every recording as the acoustic features see it: trimmed, levelled and
at 22,050 Hz. It is built once; whoever trains on it again, or goes on after a kill, finds it there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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

    def long_enough(self, frames: int) -> VocoderWaves:
        """Only the recordings that hold ``frames`` frames. Raises :class:`CorpusError` if none is left."""
        kept = [
            {
                speaker: fitting
                for speaker, recordings in split.items()
                if (fitting := [r for r in recordings if long_enough(len(r), frames)])
            }
            for split in (self.train, self.test)
        ]
        if not kept[0]:
            raise CorpusError(
                f"no train recording of the corpus holds vocoder.segment_frames={frames} frames: lower it, or "
                "add longer recordings"
            )
        return VocoderWaves(*kept)


def prepare_waves(
    recipe: Recipe, folder: Path, progress: Callable[[int, int], None] | None = None
) -> VocoderWaves:
    """The corpus's waves, from ``folder`` if they were built there, else built now.

    Of unseen speakers no more than the validation needs. Raises :class:`CorpusError` for a corpus without
    usable recordings, or where ``folder`` holds the waves of another one.
    """
    index = folder / "waves.json"
    asked = f"{recipe.corpus.model_dump_json()} {recipe.features.model_dump_json()}"
    if index.exists():
        found = json.loads(index.read_text(encoding="utf-8"))
        if found.get("format") != _FORMAT or found.get("of") != asked:
            raise CorpusError(f"{folder} holds the waves of another corpus or recipe: name another folder")
        return _map(folder, found["recordings"])
    corpus = open_corpus(recipe.corpus)
    utterances = [u for u in corpus.utterances if u.split == "train"]
    for recordings in corpus.speakers("test").values():
        utterances += list(recordings)[: recipe.vocoder.validation_recordings]
    listed = _write(utterances, recipe.features, folder / "waves.i16", progress)
    if not any(entry["split"] == "train" for entry in listed):
        raise CorpusError(
            f"the corpus {recipe.corpus.path} has no usable train recording: see `fedvoice corpus inspect`"
        )
    write_atomically(index, json.dumps({"format": _FORMAT, "of": asked, "recordings": listed}) + "\n")
    return _map(folder, listed)


def _write(
    utterances: Sequence[Utterance],
    features: FeatureConfig,
    path: Path,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, str | int]]:
    """Write all usable waves behind one another; where each one lies. Unusable recordings are left out."""
    listed: list[dict[str, str | int]] = []
    start = 0
    with storage_problems(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for done, utterance in enumerate(utterances, start=1):
                wave = _usable_wave(utterance, features)
                if wave is not None:
                    file.write(wave.tobytes())
                    listed.append(
                        {
                            "id": utterance.utterance_id,
                            "speaker": utterance.speaker_id,
                            "split": utterance.split,
                            "start": start,
                            "samples": len(wave),
                        }
                    )
                    start += len(wave)
                if progress is not None:
                    progress(done, len(utterances))
        # The index, written afterwards, vouches for the file's content.
        sync_folder(path.parent)
    return listed


def _usable_wave(utterance: Utterance, features: FeatureConfig) -> Samples | None:
    try:
        phones = read_alignment(utterance.alignment) if utterance.alignment is not None else None
        return to_int16(load_speech(utterance.audio, features, phones).wave)
    except AudioError:
        return None


def _map(folder: Path, listed: Sequence[dict[str, str | int]]) -> VocoderWaves:
    path = folder / "waves.i16"
    end = max(int(entry["start"]) + int(entry["samples"]) for entry in listed)
    if not path.exists() or path.stat().st_size < 2 * end:
        raise CorpusError(f"{path} is missing or cut short: remove {folder / 'waves.json'}, to build it again")
    samples = np.memmap(path, dtype=np.int16, mode="r")
    splits: dict[str, dict[str, list[Samples]]] = {"train": {}, "test": {}}
    for entry in listed:
        start = int(entry["start"])
        wave = samples[start : start + int(entry["samples"])]
        splits[str(entry["split"])].setdefault(str(entry["speaker"]), []).append(wave)
    # By name, so that a seed draws the same speakers whatever order a corpus lists them in.
    return VocoderWaves(*(dict(sorted(splits[split].items())) for split in ("train", "test")))
