"""Names of languages in every usual form: ``en-AU``, ``zh_TW.UTF-8``, ``cmn``, ``German``."""

from __future__ import annotations

from dataclasses import dataclass

ENGLISH, MANDARIN = "en", "zh"
_CODES = {
    "eng": "en", "english": "en", "zho": "zh", "chi": "zh", "cmn": "zh", "chinese": "zh", "mandarin": "zh",
    "putonghua": "zh", "deu": "de", "ger": "de", "german": "de", "fra": "fr", "fre": "fr", "french": "fr", "spa": "es",
    "spanish": "es", "ita": "it", "italian": "it", "por": "pt", "portuguese": "pt", "nld": "nl", "dut": "nl",
    "dutch": "nl", "rus": "ru", "russian": "ru", "pol": "pl", "polish": "pl", "tur": "tr", "turkish": "tr", "swe": "sv",
    "swedish": "sv", "dan": "da", "danish": "da", "nor": "nb", "no": "nb", "nob": "nb", "fin": "fi", "finnish": "fi",
    "jpn": "ja", "japanese": "ja", "kor": "ko", "korean": "ko", "ara": "ar", "arabic": "ar", "hin": "hi", "hindi": "hi",
    "ell": "el", "gre": "el", "greek": "el", "ces": "cs", "cze": "cs", "czech": "cs", "ukr": "uk", "ukrainian": "uk",
    "hun": "hu", "hungarian": "hu", "ron": "ro", "rum": "ro", "vie": "vi", "heb": "he", "ind": "id", "cat": "ca",
}  # fmt: skip
_MONTH_FIRST = frozenset({"us", "ca", "ph", ""})
"""Regions that write the month of a date first; English of no region is that of the United States."""
_CANTONESE = frozenset({"yue", "cantonese"})


@dataclass(frozen=True, slots=True)
class Language:
    """A language and the region whose habits are followed."""

    code: str
    """``en``, ``zh``, or as espeak-ng names it."""
    region: str
    """In lower case, as ``au``; empty without one."""
    name: str
    """As it was given, in lower case with hyphens: espeak-ng knows ``en-gb`` and ``pt-br`` by their regions."""

    @classmethod
    def of(cls, name: str) -> Language:
        """The language that ``name`` means, whatever its case, hyphens, encoding or code."""
        plain = name.strip().lower().partition(".")[0].partition("@")[0].replace("_", "-")
        first, *rest = plain.split("-")
        if first in _CANTONESE or "yue" in rest:
            return cls("yue", "", "yue")
        region = next((part for part in rest if len(part) == 2 or (len(part) == 3 and part.isdigit())), "")
        code = _CODES.get(first, first)
        return cls(code, region, "-".join([code, *rest]))

    @property
    def day_first(self) -> bool:
        """Whether 5/6 is the fifth of June."""
        return self.region not in _MONTH_FIRST
