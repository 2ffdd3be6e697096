"""Recordings in and out: one channel of speech of whatever a file holds, and files of what is spoken.

Almost every recording goes through unchanged. Of the others, what can be mended without a doubt is mended and noted:
an offset is taken off, inverted channels are told apart, and samples of another scale are brought to this one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TypeAlias

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torchaudio.functional import resample as _polyphase

from shared_models.audio.decoding import Decoded, Samples, decode
from shared_models.errors import AudioError
from shared_models.files import write_atomically

Wave: TypeAlias = NDArray[np.float32]
"""``(samples,)`` mono in [-1, 1]."""

SILENCE_PEAK = 1e-4
"""-80 dBFS: below it nothing in a 16-bit recording is speech."""
OVERSHOOT = 2.0
"""Lossy decoders go beyond full scale by a little; that is clamped. What goes further is of another scale."""
LARGEST = float(2**31)
"""The scale of 32-bit samples; floats beyond it are no samples."""
OFFSET = 0.02
"""Share of the deviation from which on a mean is an offset. Of 9,000 recordings of speech none had a fifth of that."""
_CANCELLED = 0.01
"""Of the power that unrelated channels keep when they are averaged: below it they cancel one another."""
_LARGEST_KERNEL = 1_000_000
"""Taps in all phases of a polyphase filter, about; between rates with few common factors there are too many."""

_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_16"),
    ".aif": ("AIFF", "PCM_16"),
    ".au": ("AU", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
}
_OPUS_RATE = 24_000
"""Opus knows five rates, and 22,050 Hz is none of them."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One channel of a file, fit to be used."""

    wave: Wave
    """``(samples,)`` in [-1, 1], not silent."""
    rate: int
    """Hz."""
    notes: tuple[tuple[str, str], ...] = ()
    """What was mended: in a word, and in words."""


def read_audio(path: Path, longest: float | None = None) -> tuple[Wave, int]:
    """Read a recording as ``(samples,)`` mono in [-1, 1] at the file's own rate, and that rate in Hz.

    Raises :class:`AudioError` as :func:`shared_models.audio.decoding.decode`, and for a recording that is silent or
    not finite.
    """
    recording = one_channel(decode(path, longest), path)
    return recording.wave, recording.rate


def one_channel(decoded: Decoded, path: Path) -> Recording:
    """The recording in what was decoded of ``path``: its channels' mean, or the loudest one where they cancel.

    Raises :class:`AudioError` for samples that are not finite, of no known scale, or silent.
    """
    if not np.isfinite(decoded.samples).all():
        raise AudioError(
            f"{path} holds samples that are not numbers; export it again or remove it", kind="unreadable"
        )
    notes = []
    wave, cancelled = _mixed(decoded.samples)
    if cancelled is not None:
        notes.append(
            ("inverted", f"its channels cancel one another, so that channel {cancelled + 1} alone is used")
        )
    peak = float(np.abs(wave).max())
    if peak > LARGEST:
        raise AudioError(
            f"{path} holds samples up to {peak:.3g} where 1 is full scale: they are of another type than its header "
            "says, so export it again",
            kind="unreadable",
        )
    if peak > OVERSHOOT:
        notes.append(
            ("out of range", f"samples reach {peak:,.1f} where 1 is full scale, so they are divided by that")
        )
        wave = wave / np.float32(peak)
    offset = _offset(wave)
    if offset:
        notes.append(("offset", f"an offset of {offset:.3g} is taken off"))
        # In float64: of a constant nothing may remain.
        wave = (wave.astype(np.float64) - offset).astype(np.float32)
    if np.abs(wave).max() < SILENCE_PEAK:
        constant = " but for a constant" if offset else ""
        raise AudioError(
            f"{path} is silent{constant}; check the microphone and record it again", kind="silent"
        )
    return Recording(np.clip(wave, -1.0, 1.0), decoded.rate, tuple(notes))


def _offset(wave: Wave) -> float:
    """The constant that is added to all of ``wave (samples,)``; 0 for none that matters."""
    mean = float(wave.mean(dtype=np.float64))
    least = max(SILENCE_PEAK, OFFSET * float(wave.std(dtype=np.float64)))
    # A click moves the mean, and nothing but an offset the median too.
    return mean if abs(mean) > least and abs(float(np.median(wave))) > least else 0.0


def _mixed(samples: Samples) -> tuple[Wave, int | None]:
    """The mean of the channels; or the loudest one, and its place, where the mean would cancel them."""
    mean: Wave = samples.mean(axis=1, dtype=np.float32)
    count = samples.shape[1]
    if count == 1:
        return mean, None
    powers = samples.var(axis=0, dtype=np.float64)
    unrelated = float(powers.sum()) / count**2
    if unrelated > SILENCE_PEAK**2 and float(mean.var(dtype=np.float64)) < _CANCELLED * unrelated:
        loudest = int(powers.argmax())
        return np.ascontiguousarray(samples[:, loudest]), loudest
    return mean, None


def resample(wave: Wave, rate: int, new_rate: int) -> Wave:
    """Band-limited resampling of ``(samples,)`` from ``rate`` to ``new_rate`` Hz, without time shift.

    Between rates with a large common factor by a polyphase filter; between others by soxr, whose cost does not grow
    with the rates.
    """
    if rate == new_rate:
        return wave
    common = gcd(rate, new_rate)
    if (rate // common) * (new_rate // common) > _LARGEST_KERNEL:
        return np.clip(np.asarray(soxr.resample(wave, rate, new_rate), dtype=np.float32), -1.0, 1.0)
    resampled = _polyphase(torch.from_numpy(wave), rate, new_rate).clamp(-1.0, 1.0)
    return np.asarray(resampled.numpy(), dtype=np.float32)


def refuse_format(path: Path) -> None:
    """Raise :class:`AudioError` where no audio can be written under that name's suffix."""
    if path.suffix.lower() not in _FORMATS:
        raise AudioError(f"audio cannot be written as '{path.suffix}'; use one of {', '.join(_FORMATS)}")


def encode_audio(wave: Wave, rate: int, suffix: str = ".wav") -> bytes:
    """The bytes of an audio file of ``wave (samples,)``; 16 bits a sample where the format is lossless.

    Raises :class:`AudioError` for a suffix of no known format.
    """
    refuse_format(Path(f"x{suffix}"))
    container, encoding = _FORMATS[suffix.lower()]
    if encoding == "OPUS":
        wave, rate = resample(wave, rate, _OPUS_RATE), _OPUS_RATE
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1.0, 1.0), rate, format=container, subtype=encoding)
    return buffer.getvalue()


def write_audio(path: Path, wave: Wave, rate: int) -> None:
    """Write ``wave (samples,)``; the format follows the suffix. The file appears whole or not at all.

    Raises :class:`AudioError` for an unknown suffix and :class:`StorageError` for a full disk.
    """
    write_atomically(path, encode_audio(wave, rate, path.suffix))
