"""A pronunciation dictionary that a user gives: names and words that the front ends read wrongly.

A line is a word, a tab, and how it is said: words (``GIF<TAB>jif``), numbered pinyin (``朝阳<TAB>chao2 yang2``), or
phones between slashes, as symbols of this project or as ARPAbet (``Nguyen<TAB>/N W IH1 N/``). Lines that begin with
``#`` say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared_models.audio.arpabet import arpabet_to_symbol
from shared_models.errors import TextError
from shared_models.text.symbols import SILENT, SYMBOL_IDS

Phones = tuple[str, ...]
_PINYIN = re.compile(r"[a-zü:]+[1-5](?: [a-zü:]+[1-5])*")


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Words and how they are said: phones, or other words."""

    entries: Mapping[str, Phones | str]
    pattern: re.Pattern[str]
    """Any of the words, the longest first, in any case."""

    @classmethod
    def read(cls, path: Path) -> Dictionary:
        """The dictionary in a file. Raises :class:`TextError`, which names the line, for one that cannot be read."""
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise TextError(f"the dictionary {path} cannot be read as UTF-8 text: {reason}") from error
        entries: dict[str, Phones | str] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            word, _, said = (part.strip() for part in line.partition("\t"))
            if not (word and said):
                raise TextError(
                    f"{path}, line {number}: expected a word, a tab and how it is said, not {line[:40]!r}"
                )
            if word in entries:
                raise TextError(f"{path}, line {number}: {word!r} is listed twice; keep one of the lines")
            entries[word] = _said(said, f"{path}, line {number}")
        if not entries:
            raise TextError(
                f"the dictionary {path} holds no word; write a word, a tab and how it is said a line"
            )
        return cls.of(entries)

    @classmethod
    def of(cls, entries: Mapping[str, Phones | str]) -> Dictionary:
        """A dictionary of ``entries``. A word of capitals alone stands for itself; others for any case."""
        folded = {word.lower(): said for word, said in entries.items() if not word.isupper()}
        words = sorted(map(_whole, entries), key=len, reverse=True)
        return cls({**folded, **entries}, re.compile("|".join(words), re.IGNORECASE))

    def divide(self, text: str) -> list[str | Phones]:
        """``text`` with other words in their place, divided where phones are: ``["call ", ("n", ...), " now"]``."""
        parts: list[str | Phones] = []
        plain, position = "", 0
        for match in self.pattern.finditer(text):
            said = self.entries.get(match[0], self.entries.get(match[0].lower()))
            if said is None:
                continue
            plain += text[position : match.start()]
            position = match.end()
            if isinstance(said, str):
                plain += said
            else:
                parts += [plain, said]
                plain = ""
        return [part for part in (*parts, plain + text[position:]) if part]


def _whole(word: str) -> str:
    """``word`` where no letter goes on beside it; Chinese has no such edges."""
    before, behind = (r"(?<!\w)" if c.isascii() else "" for c in (word[0], word[-1]))
    return f"{before}{re.escape(word)}{behind.replace('<', '')}"


def _said(said: str, where: str) -> Phones | str:
    if len(said) > 2 and said.startswith("/") and said.endswith("/"):
        return tuple(_symbol(phone, where) for phone in said[1:-1].split())
    if _PINYIN.fullmatch(said):
        from shared_models.text.mandarin import pinyin_phones

        syllables = [pinyin_phones(syllable) for syllable in said.split()]
        if all(syllables):
            return tuple(phone for syllable in syllables for phone in syllable)
    return said


def _symbol(phone: str, where: str) -> str:
    symbol = phone if phone in SYMBOL_IDS and phone not in SILENT else arpabet_to_symbol(phone)
    if symbol is None:
        raise TextError(
            f"{where}: {phone!r} is neither ARPAbet nor a symbol of shared_models/text/symbols.py"
        )
    return symbol
