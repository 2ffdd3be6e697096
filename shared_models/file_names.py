"""Names that somebody else chose, as names of files: a speaker's in a corpus, a run's from a server, a recipe's.

``../../x`` as a run's name once wrote a voice outside of its folder. A name becomes a file's only through here: as it
is where no file system takes it for anything but a name, and otherwise by its hash.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from shared_models.errors import CorpusError
from shared_models.shown_text import shown

_LONGEST_BYTES = 96
"""Leaves room for what is put before and after it: 255 bytes is what file systems take, and some take less."""
_SPECIAL = set('/\\:*?"<>|')
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$)\s*(\..*)?", re.IGNORECASE
)
"""Devices of Windows, with any ending."""
_HASHED = re.compile("(.*-)?[0-9a-f]{16}")


def file_name_of(name: str) -> str:
    """A file's name for ``name``: itself where it is harmless, or what is harmless of it and a hash.

    Different names get different files, short of a collision of 64 bits of SHA-256: a name that looks like a hashed
    one is hashed too. An ending may be appended.
    """
    if is_harmless(name) and not _HASHED.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    stub = re.sub("[^A-Za-z0-9_]+", "-", name[:200]).strip("-")[:32]
    return f"{stub}-{digest}" if stub else digest


def is_harmless(name: str) -> bool:
    """Whether every file system takes this for one file's plain name."""
    return (
        0 < len(name.encode("utf-8", "surrogatepass")) <= _LONGEST_BYTES
        and not _SPECIAL & set(name)
        and shown(name) == name
        # Some file systems store another form of the same letters.
        and unicodedata.is_normalized("NFC", name)
        and name[0] not in ".-~ "
        and name[-1] not in ". "
        and not _RESERVED.fullmatch(name)
    )


def path_within(folder: Path, relative: str, what: str) -> Path:
    """``folder / relative``, where that lies in the folder. Raises :class:`CorpusError`, naming ``what`` has the path.

    For tables and archives that name files of their own by relative paths.
    """
    parts = re.split(r"[/\\]", relative)
    if not relative or "\0" in relative or ".." in parts or Path(relative).is_absolute() or ":" in parts[0]:
        raise CorpusError(
            f"{what} names the file '{shown(relative)}', which lies outside of {folder}: correct it"
        )
    return folder / relative
