"""Recordings in and out: WAV, FLAC, MP3, Ogg Vorbis and Ogg Opus through libsndfile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TypeAlias

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torchaudio.functional import resample as _polyphase

from shared_models.errors import AudioError
from shared_models.files import write_atomically

Wave: TypeAlias = NDArray[np.float32]
"""``(samples,)`` mono in [-1, 1]."""

SILENCE_PEAK = 1e-4
"""-80 dBFS: below it nothing in a 16-bit recording is speech."""

_FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


def read_audio(path: Path) -> tuple[Wave, int]:
    """Read a recording as ``(samples,)`` mono in [-1, 1] at the file's own rate, and that rate in Hz.

    Channels are averaged. Lossy decoders overshoot full scale by a little; that is clamped. Raises
    :class:`AudioError` for a file that is missing, unreadable, empty, silent or not finite.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, TypeError) as error:
        raise AudioError(
            f"{path} cannot be read as audio ({_reason(path, error)}); replace or remove it"
        ) from error
    if len(samples) == 0:
        raise AudioError(f"{path} holds no samples; record it again or remove it")
    wave: Wave = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(wave).all():
        raise AudioError(f"{path} holds samples that are not numbers; export it again or remove it")
    if np.abs(wave).max() < SILENCE_PEAK:
        raise AudioError(f"{path} is silent; check the microphone and record it again")
    return np.clip(wave, -1.0, 1.0), int(rate)


def resample(wave: Wave, rate: int, new_rate: int) -> Wave:
    """Band-limited resampling of ``(samples,)`` from ``rate`` to ``new_rate`` Hz, without time shift."""
    if rate == new_rate:
        return wave
    resampled = _polyphase(torch.from_numpy(wave), rate, new_rate).clamp(-1.0, 1.0)
    return np.asarray(resampled.numpy(), dtype=np.float32)


def encode_audio(wave: Wave, rate: int, suffix: str = ".wav") -> bytes:
    """The bytes of a ``.wav``, ``.flac`` (both 16 bit) or ``.ogg`` (Vorbis) file of ``wave (samples,)``."""
    if suffix.lower() not in _FORMATS:
        raise AudioError(f"audio cannot be written as '{suffix}'; use one of {', '.join(_FORMATS)}")
    container, encoding = _FORMATS[suffix.lower()]
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1.0, 1.0), rate, format=container, subtype=encoding)
    return buffer.getvalue()


def write_audio(path: Path, wave: Wave, rate: int) -> None:
    """Write ``wave (samples,)``; the format follows the suffix. The file appears whole or not at all.

    Raises :class:`AudioError` for an unknown suffix and :class:`StorageError` for a full disk.
    """
    write_atomically(path, encode_audio(wave, rate, path.suffix))


def _reason(path: Path, error: Exception) -> str:
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a folder"
    return (
        "its contents are damaged or of an unknown format" if isinstance(error, RuntimeError) else str(error)
    )
