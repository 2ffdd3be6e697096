"""Copy synthesis: a recording to its mel and back, which shows what a vocoder can do and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from shared_models.audio.decoding import AUDIO_SUFFIXES
from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import SAMPLE_RATE, log_mel
from shared_models.audio.reading import write_audio
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError
from shared_models.vocoders import Vocoder

_LEVELLED = FeatureConfig.model_validate({"trim_silence": False})


@dataclass(frozen=True, slots=True)
class Copy:
    """One recording's copy."""

    source: Path
    path: Path
    seconds: float
    """Of sound."""
    taken: float
    """Seconds of computing."""
    mel_distance: float
    """Mean L1 between the log-mels of recording and copy."""

    def figures(self) -> dict[str, str | float]:
        """As plain data."""
        return {
            "source": str(self.source),
            "copy": str(self.path),
            "seconds": self.seconds,
            "mel_distance": self.mel_distance,
            "real_time_factor": self.taken / self.seconds,
        }


def copy_all(
    recordings: Sequence[Path],
    vocoder: Vocoder,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Copy], list[tuple[Path, str]]]:
    """Copies of files, and of all audio below folders, as WAVs in ``folder``; and what was left out, and why.

    A folder's inner folders are kept. Raises :class:`AudioError` if nothing at all could be copied, or if
    two recordings would become one file.
    """
    targets = _targets(recordings, folder)
    copies, left_out = [], []
    for done, (target, source) in enumerate(targets.items(), start=1):
        try:
            copies.append(_copy(source, target, vocoder))
        except AudioError as error:
            left_out.append((source, str(error)))
        if progress is not None:
            progress(done, len(targets))
    if not copies:
        why = left_out[0][1] if left_out else "there is no audio in what was named"
        raise AudioError(f"nothing was copied: {why}")
    return copies, left_out


def _copy(source: Path, target: Path, vocoder: Vocoder) -> Copy:
    mel = log_mel(torch.from_numpy(load_speech(source, _LEVELLED).wave))
    started = time.monotonic()
    wave = vocoder(mel)
    taken = time.monotonic() - started
    write_audio(target, wave.numpy(), SAMPLE_RATE)
    distance = (log_mel(wave) - mel).abs().mean().item()
    return Copy(source, target, len(wave) / SAMPLE_RATE, taken, distance)


def _targets(recordings: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """The recording of every file to be written."""
    targets: dict[Path, Path] = {}
    for named in recordings:
        inside = sorted(p for p in named.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
        for source in inside if named.is_dir() else [named]:
            kept = source.relative_to(named) if named.is_dir() else Path(source.name)
            target = folder / kept.with_suffix(".wav")
            if target in targets:
                raise AudioError(
                    f"{targets[target]} and {source} would both become {target}: copy them in two calls with "
                    "different --output"
                )
            if target.resolve() == source.resolve():
                raise AudioError(f"the copy of {source} would replace it: choose another --output")
            targets[target] = source
    return targets
