"""Text files as people have them: UTF-8 with or without a mark, UTF-16 with one, and a remedy for all others."""

from __future__ import annotations

import codecs
from pathlib import Path

from shared_models.errors import CorpusError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, with which it begins
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_REMEDY = "save it again as UTF-8 (in most editors: Save as, Encoding, UTF-8)"


def read_text(path: Path) -> str:
    """The text of a file, without its byte-order mark; line ends stay as they are.

    Raises :class:`CorpusError` for a file that cannot be read, and for one in an encoding that cannot be told for
    certain: a guess would put wrong words beside recordings.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text ({error}); {_REMEDY}") from error
    if "\0" in text:
        raise CorpusError(f"{path} is not UTF-8 text, but UTF-16 without a mark or no text at all; {_REMEDY}")
    return text
