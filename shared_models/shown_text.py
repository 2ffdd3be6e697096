"""Text that somebody else wrote, made fit to be shown: names of devices and federations, reasons, file names.

A terminal obeys what it is sent. A name that holds an escape sequence could clear the screen, set a link, or make a
line say something else than it says; one that holds a change of direction could make two names look alike.
"""

from __future__ import annotations

import unicodedata

LONGEST_NAME = 64
"""Characters of a device's or a federation's name."""
_JOINERS = "\u200c\u200d"
"""Invisible, and part of how several scripts and emoji are written."""


def shown(text: object, *, keep: str = "") -> str:
    """The text with each character that is not to be seen spelled out, as ``\\x1b`` or ``\\u202e``.

    These are control characters (also line ends, and those from 0x80 to 0x9f, which some terminals obey), changes
    of direction, line and paragraph separators, and halves of surrogate pairs; those in ``keep`` stay.
    """
    whole = str(text)
    if whole.isascii() and whole.isprintable():
        return whole
    return "".join(c if c in keep or _harmless(c) else _spelled(c) for c in whole)


def name_problem(name: str) -> str | None:
    """Why this can name no device and no federation, as the end of a sentence; None if it can."""
    if not name.strip():
        return "it is empty"
    if name != name.strip():
        return "it begins or ends with a space"
    if len(name) > LONGEST_NAME:
        return f"it has {len(name)} characters, and may have {LONGEST_NAME}"
    hidden = next((c for c in name if not _harmless(c)), None)
    if hidden is not None:
        return f"it holds a character that cannot be seen ({_spelled(hidden)})"
    return None


def fit_name(text: str) -> str:
    """The nearest to this text that can be a name; for names that nobody typed, such as a folder's."""
    kept = "".join(c for c in text if _harmless(c)).strip()
    return kept[:LONGEST_NAME].strip() or "unnamed"


def _harmless(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _spelled(character: str) -> str:
    number = ord(character)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )
