"""Files of audio as samples: all that libsndfile reads, and what phones record through PyAV where it is installed.

What a file holds is told by its first bytes and never by its name. Nothing that a header states is believed: samples
are read in blocks up to a bound, and a file that ends before its header says so is refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
from numpy.typing import NDArray

from shared_models.errors import AudioError

Samples: TypeAlias = NDArray[np.float32]
"""``(samples, channels)`` as decoded."""

SOUND_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".oga", ".wave", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf",
    ".w64", ".rf64", ".sph", ".nist", ".voc",
)  # fmt: skip
"""Of files that libsndfile reads; of copies of one recording the first is taken."""
MEDIA_SUFFIXES = (
    ".m4a", ".mp4", ".m4b", ".aac", ".3gp", ".3gpp", ".3g2", ".amr", ".awb", ".mov", ".wma", ".asf", ".webm",
    ".weba", ".mka", ".mkv",
)  # fmt: skip
"""Of files that PyAV reads, among them what phones record."""
AUDIO_SUFFIXES = (*SOUND_SUFFIXES, *MEDIA_SUFFIXES)

SLOWEST, FASTEST = 4_000, 1_000_000
"""Sample rates (Hz) that are believed. Below the first there is no speech, and above the second no microphone."""
MOST_VALUES = 2**28
"""Samples times channels of one recording: 1 GiB as they are held."""

_MEDIA = {
    "MP4 (AAC)": re.compile(rb"....ftyp|....moov|....mdat|....wide", re.DOTALL),
    "AAC": re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"),
    "AMR": re.compile(rb"#!AMR"),
    "Windows Media": re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    "Matroska or WebM": re.compile(rb"\x1a\x45\xdf\xa3"),
}
"""How files begin that libsndfile does not read."""
# Playlists would make the reader open other files and addresses.
_OPTIONS = {"format_whitelist": "mov,aac,amr,asf,matroska,webm", "protocol_whitelist": "file"}
_SHORTAGE = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
"""In libsndfile's log: the bytes that a header states, and those that there are."""
_UNKNOWN_LENGTH = 0x7FFF_F000
"""From here on a stated size stands for "to the end": programs that cannot seek write it."""
_MOST_CHANNELS = 8
"""Of a frame. Of more, PyAV reads some that are not there, which ends the process: a damaged AAC file claimed 50."""
_LOST_SECONDS = 0.1
_BLOCK = 2**18
_OGG_PAGE, _OGG_HEADER = 65_307, 27


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a file holds, as it holds it."""

    samples: Samples
    rate: int
    """Hz."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


def decode(path: Path, longest: float | None = None) -> Decoded:
    """All samples of a file, at least one of them.

    Raises :class:`AudioError` for a file that is missing, damaged, cut short, of an unknown format or of a rate that
    nobody records at, that holds nothing, or that lasts more than ``longest`` seconds.
    """
    try:
        media = _media_of(path)
        found = _by_av(path, media, longest) if media else _by_libsndfile(path, longest)
    except AudioError:
        raise
    # A reader that is given broken bytes ends in whatever error it happens to; one bad file ends nothing.
    except Exception as error:
        raise _unreadable(path, error) from error
    if len(found.samples) == 0:
        raise AudioError(f"{path} holds no samples; record it again or remove it", kind="unreadable")
    return found


def length_of(path: Path) -> float:
    """Seconds of a file as its header states them, mostly without decoding it. Raises :class:`AudioError`."""
    try:
        media = _media_of(path)
        if media is None:
            described = soundfile.info(_closed(path))
            stated, rate = described.frames, described.samplerate
            if stated < _UNKNOWN_LENGTH:
                return float(described.duration) if _believed(path, rate) else 0.0
        elif (seconds := _length_by_av(path, media)) is not None:
            return seconds
    except AudioError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    return decode(path).seconds


def _media_of(path: Path) -> str | None:
    """What the file is if libsndfile does not read it, by its first bytes."""
    with path.open("rb") as file:
        first = file.read(16)
    return next((name for name, begins in _MEDIA.items() if begins.match(first)), None)


def _by_libsndfile(path: Path, longest: float | None) -> Decoded:
    with soundfile.SoundFile(_closed(path)) as file:
        rate, stated = int(file.samplerate), file.frames
        _believed(path, rate)
        samples = _gathered(path, _blocks(file), rate, longest)
        lost = _lost_bytes(file.extra_info)
        missing = max(lost * len(samples), stated - len(samples) if stated < _UNKNOWN_LENGTH else 0)
    if missing > _LOST_SECONDS * rate:
        raise AudioError(
            f"{path} ends after {len(samples) / rate:.2f} s where its header states "
            f"{(len(samples) + missing) / rate:.2f} s: copy or record it again",
            kind="cut short",
        )
    if _ends_within_a_page(path):
        raise AudioError(
            f"{path} is cut short: it ends in the middle of a page; copy or record it again", kind="cut short"
        )
    return Decoded(samples, rate)


def _closed(path: Path) -> Path | io.BytesIO:
    """The file; or its content with the sizes mended that a recorder leaves at 0 when it is stopped by force."""
    with path.open("rb") as file:
        head = file.read(4096)
        place = head.find(b"data") + 4
        if not head.startswith(b"RIFF") or place < 4 or head[place : place + 4] != bytes(4):
            return path
        if path.stat().st_size <= place + 4 or path.stat().st_size > 4 * MOST_VALUES:
            return path
        file.seek(0)
        content = bytearray(file.read())
    content[4:8] = content[place : place + 4] = b"\xff" * 4
    return io.BytesIO(content)


def _blocks(file: Any) -> Iterator[Samples]:
    """Until there is no more: some formats (GSM) cannot seek, and so cannot say how much there is."""
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        yield block


def _gathered(path: Path, blocks: Iterator[Samples], rate: int, longest: float | None) -> Samples:
    parts: list[Samples] = []
    frames = 0
    for block in blocks:
        parts.append(block)
        frames += len(block)
        if longest is not None and frames > longest * rate:
            raise AudioError(
                f"{path} is longer than {longest:g} s: cut it into sentences, each with its text",
                kind="too long",
            )
        if frames * block.shape[1] > MOST_VALUES:
            raise AudioError(
                f"{path} is too large ({block.shape[1]} channels, more than {frames / rate:.0f} s): cut it into parts",
                kind="too long",
            )
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def _believed(path: Path, rate: int) -> bool:
    """True; raises :class:`AudioError` for a rate that no recording has."""
    if not SLOWEST <= rate <= FASTEST:
        raise AudioError(
            f"{path} says that it has {rate} samples a second, and speech is recorded at {SLOWEST} to {FASTEST}: its "
            "header is wrong, so export it again",
            kind="unreadable",
        )
    return True


def _lost_bytes(log: str) -> float:
    """Bytes that are missing, for each that is there, as libsndfile noted when it read the header."""
    for stated, there in _SHORTAGE.findall(log):
        if int(there) < int(stated) < _UNKNOWN_LENGTH and int(there) > 0:
            return (int(stated) - int(there)) / int(there)
    return 0.0


def _ends_within_a_page(path: Path) -> bool:
    """Whether an Ogg file lacks the end of its last page (RFC 3533, section 6)."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, path.stat().st_size - 2 * _OGG_PAGE))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < _OGG_HEADER:
        return True
    lengths = page[_OGG_HEADER : _OGG_HEADER + page[_OGG_HEADER - 1]]
    return len(page) < _OGG_HEADER + page[_OGG_HEADER - 1] + sum(lengths)


def _by_av(path: Path, media: str, longest: float | None) -> Decoded:
    av = _av(path, media)
    with av.open(str(path), options=_OPTIONS) as container:
        if not container.streams.audio:
            raise AudioError(f"{path} holds no sound; remove it", kind="unreadable")
        stream = container.streams.audio[0]
        rate = int(stream.rate or 0)
        _believed(path, rate)
        stated = float(stream.duration * stream.time_base) if stream.duration else 0.0
        planar = av.AudioResampler(format="fltp")
        frames = (
            part for frame in _believable(path, container.decode(stream)) for part in planar.resample(frame)
        )
        samples = _gathered(path, (frame.to_ndarray().T for frame in frames), rate, longest)
    # What an encoder puts before and after the sound is counted by some programs and not by others.
    if stated - len(samples) / rate > 0.05 * stated + _LOST_SECONDS:
        raise AudioError(
            f"{path} ends after {len(samples) / rate:.2f} s where its header states {stated:.2f} s: copy or record it "
            "again",
            kind="cut short",
        )
    return Decoded(np.ascontiguousarray(samples), rate)


def _believable(path: Path, frames: Iterator[Any]) -> Iterator[Any]:
    """The frames; raises :class:`AudioError` at one of more channels than there are microphones."""
    for frame in frames:
        if frame.layout.nb_channels > _MOST_CHANNELS:
            raise AudioError(
                f"{path} claims {frame.layout.nb_channels} channels: it is damaged, so copy or record it again",
                kind="unreadable",
            )
        yield frame


def _length_by_av(path: Path, media: str) -> float | None:
    """What the container states; None where it does not."""
    with _av(path, media).open(str(path), options=_OPTIONS) as container:
        if not container.streams.audio:
            raise AudioError(f"{path} holds no sound; remove it", kind="unreadable")
        stream = container.streams.audio[0]
        _believed(path, int(stream.rate or 0))
        return float(stream.duration * stream.time_base) if stream.duration else None


def _av(path: Path, media: str) -> Any:
    try:
        import av
    except ImportError:
        raise AudioError(
            f"{path} is {media}, which needs the extra 'media': pip install 'fedvoice[media]', or convert it to WAV or "
            "FLAC",
            kind="format",
        ) from None
    # Each of its complaints about a broken file would be a line of its own.
    av.logging.set_level(av.logging.PANIC)
    return av


def _unreadable(path: Path, error: Exception) -> AudioError:
    phones = path.suffix.lower() in MEDIA_SUFFIXES
    remedy = f"convert the {path.suffix} to WAV, or remove it" if phones else "replace or remove it"
    return AudioError(f"{path} cannot be read as audio ({_reason(path, error)}); {remedy}", kind="unreadable")


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError) or not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a folder"
    if isinstance(error, PermissionError):
        return "it may not be read; mend its rights"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return f"its contents are damaged or of an unknown format, {type(error).__name__}"
