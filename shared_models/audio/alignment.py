"""Phone alignments: Montreal Forced Aligner's TextGrid and our own ``.phones`` table.

A ``.phones`` table has a line a phone, in order and without gaps: start in seconds, end in seconds and a
symbol of :mod:`shared_models.text.symbols`, separated by tabs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shared_models.audio.arpabet import arpabet_to_symbol
from shared_models.audio.level import MARGIN_SECONDS
from shared_models.audio.mel import FRAME_RATE, HOP, SAMPLE_RATE
from shared_models.audio.text_grid import read_tiers
from shared_models.errors import AudioError, CorpusError
from shared_models.files import write_atomically
from shared_models.shown_text import shown
from shared_models.text.symbols import SILENCE, SILENT, SYMBOL_IDS
from shared_models.text_file import read_text

SILENCE_LABELS = frozenset(
    {"", "sil", "sp", "spn", "<eps>", "<sil>", "<p:>", "<p>", "pau", "silence", "h#", "#", "_"}
)
"""Those of Montreal Forced Aligner, Kaldi, WebMAUS, Festival, TIMIT and Praat's users."""
PHONE_TIER = "phones"
PHONE_TIERS = frozenset({PHONE_TIER, "phone", "phonemes", "phoneme", "mau"})
"""What tiers of phones are called, whatever stands before it and a dash, as a speaker's name does."""

_LONGEST_TAIL = math.ceil(MARGIN_SECONDS * FRAME_RATE) + 1


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone and when it sounds, in seconds from the start of the recording."""

    start: float
    end: float
    symbol: str


def read_alignment(path: Path) -> list[Phone]:
    """Read a ``.TextGrid`` or a ``.phones`` file; the phones follow one another without gaps.

    Silences next to each other become one. Raises :class:`AudioError` for a file that is missing,
    malformed, unordered, or holds a label that the project has no symbol for.
    """
    read = _read_text_grid if path.suffix.lower() == ".textgrid" else _read_phones
    try:
        phones = read(path)
    except CorpusError as error:
        raise AudioError(
            f"alignment {path} cannot be read ({error}); make it again or remove it", kind="alignment"
        ) from error
    return _without_gaps(phones, path)


def write_phones(path: Path, phones: Sequence[Phone]) -> None:
    """Write a ``.phones`` table; raises :class:`StorageError` where that is not possible."""
    lines = (f"{phone.start:.6f}\t{phone.end:.6f}\t{phone.symbol}\n" for phone in phones)
    write_atomically(path, "".join(lines))


def speech_bounds(phones: Sequence[Phone]) -> tuple[float, float]:
    """Seconds where the first phone that is not silence starts, and where the last one ends."""
    spoken = [phone for phone in phones if phone.symbol not in SILENT]
    if not spoken:
        raise AudioError("an alignment holds only silence")
    return spoken[0].start, spoken[-1].end


def symbols_and_durations(
    phones: Sequence[Phone], first_sample: int, frames: int
) -> tuple[list[str], Tensor]:
    """The symbols of a cut of the recording and their frames ``(L,)`` int64, which sum to ``frames``.

    The cut starts at ``first_sample`` (at 22,050 Hz). Boundaries are rounded, not durations, so that
    rounding never adds up. The symbols start and end with a silence, of no frames where the cut has none;
    the last one takes what the alignment leaves, at most the margin that trimming keeps. Raises
    :class:`AudioError` where speech is aligned beyond the end of the audio or the audio goes on for longer.
    """
    kept = _edged_with_silence([p for p in phones if _frame(p.end, first_sample) >= 0])
    ends = [_frame(phone.end, first_sample) for phone in kept]
    spoken = max(end for end, phone in zip(ends, kept, strict=True) if phone.symbol not in SILENT)
    if spoken > frames + 1 or ends[-1] < frames - _LONGEST_TAIL:
        raise AudioError(
            f"an alignment ends at frame {spoken} of an audio of {frames}; align this recording again"
        )
    bounds = [0, *(min(frames, max(0, end)) for end in ends[:-1]), frames]
    durations = torch.tensor(bounds).diff()
    return [phone.symbol for phone in kept], durations


def _frame(seconds: float, first_sample: int) -> int:
    return round((seconds * SAMPLE_RATE - first_sample) / HOP)


def _edged_with_silence(phones: list[Phone]) -> list[Phone]:
    edged = list(phones)
    if not edged or edged[0].symbol != SILENCE:
        start = edged[0].start if edged else 0.0
        edged.insert(0, Phone(start, start, SILENCE))
    if edged[-1].symbol != SILENCE:
        edged.append(Phone(edged[-1].end, edged[-1].end, SILENCE))
    return edged


def _read_phones(path: Path) -> list[Phone]:
    phones = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split("\t")
        try:
            start, end, symbol = float(fields[0]), float(fields[1]), fields[2].strip()
        except (ValueError, IndexError):
            raise AudioError(
                f"{path}, line {number}: expected start, end and phoneme separated by tabs, found '{line}'"
            ) from None
        if symbol not in SYMBOL_IDS:
            raise AudioError(f"{path}, line {number}: '{symbol}' is not a phoneme of this project")
        phones.append(Phone(start, end, symbol))
    return phones


def _read_text_grid(path: Path) -> list[Phone]:
    content = read_text(path)
    try:
        tiers = read_tiers(content)
    except ValueError as error:
        raise AudioError(
            f"{path} is not a TextGrid ({error}); export the alignment again or remove it", kind="alignment"
        ) from error
    found = [tier for tier in tiers if tier.name.lower().rpartition(" - ")[2].strip() in PHONE_TIERS]
    if not found:
        raise AudioError(
            f"{path} has no tier '{PHONE_TIER}', only {shown(', '.join(t.name for t in tiers)) or 'none at all'}; "
            "rename the phone tier",
            kind="alignment",
        )
    intervals = next((tier.intervals for tier in found if tier.intervals is not None), None)
    if intervals is None:
        raise AudioError(
            f"{path}: its tier '{found[0].name}' has points, not intervals; align this recording again",
            kind="alignment",
        )
    return [Phone(start, end, _to_symbol(label.strip(), path)) for start, end, label in intervals]


def _to_symbol(label: str, path: Path) -> str:
    if label.lower() in SILENCE_LABELS:
        return SILENCE
    symbol = label if label in SYMBOL_IDS else arpabet_to_symbol(label)
    if symbol is None:
        raise AudioError(
            f"{path}: '{label}' is neither ARPAbet nor a phoneme of this project; align with MFA's "
            "english_us_arpa"
        )
    return symbol


def _without_gaps(phones: Sequence[Phone], path: Path) -> list[Phone]:
    """Fill gaps with silence, join neighbouring silences, and check the order."""
    filled: list[Phone] = []
    now = 0.0
    for phone in phones:
        if not (math.isfinite(phone.end) and phone.end >= phone.start >= now - 1e-3):
            raise AudioError(
                f"{path}: '{phone.symbol}' from {phone.start} to {phone.end} s is out of order; align again"
            )
        if phone.start > now + 1e-3:
            _append(filled, Phone(now, phone.start, SILENCE))
        _append(filled, Phone(now if not filled else filled[-1].end, phone.end, phone.symbol))
        now = phone.end
    if not filled:
        raise AudioError(f"alignment {path} is empty; align this recording again")
    return filled


def _append(phones: list[Phone], phone: Phone) -> None:
    if phones and phones[-1].symbol == SILENCE == phone.symbol:
        phones[-1] = Phone(phones[-1].start, phone.end, SILENCE)
    else:
        phones.append(phone)
