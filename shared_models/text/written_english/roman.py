"""Roman numerals: of rulers and wars, of parts and centuries, and years."""

from __future__ import annotations

import re
from re import Match

from shared_models.text.numbers import cardinal, ordinal, year
from shared_models.text.written_english.rules import Rule

_ONES = r"(?:IX|IV|V?I{0,3})"
_TENS = r"(?:XC|XL|L?X{0,3})"
_ANY = rf"(?=[IVXLC]+\b)C{{0,3}}{_TENS}{_ONES}"
_LONG = rf"(?=[IVXL]{{2,}}\b|[VX]\b){_TENS}{_ONES}"
"""Not a lone I, which is a person, nor C, D, L and M, which are letters."""
_SMALL = rf"(?=[IVX]{{2,}}\b|V\b)X{{0,3}}{_ONES}"
_LOWER = r"(?=[xvi]+\b)x{0,3}(?:ix|iv|v?i{0,3})"
_YEAR = rf"M(?=[MDCLXVI]{{3}})M{{0,2}}(?:CM|CD|D?C{{0,3}}){_TENS}{_ONES}"
_NUMBERED = (
    r"Chapter|Book|Part|Volume|Vol\.?|Act|Scene|World War|Section|Article|Canto|Phase|Type|Class|Appendix|Stage|Level|"
    r"Grade|Title|Mark|Figure|Table|Episode|Season|Psalm|Sonnet|Symphony|Division|Tier|Factor|Apollo|Gemini|Saturn|"
    r"Vatican|Schedule|Annex|Category|Group|Lesson|Unit|Version|Round|Day|Step|Question|Exercise|Super Bowl"
)
_RULERS = (
    r"Henry|Louis|George|Charles|Edward|Richard|James|William|John|Paul|Pius|Benedict|Elizabeth|Mary|Philip|Napoleon|"
    r"Frederick|Alexander|Catherine|Nicholas|Peter|Ivan|Leo|Gregory|Clement|Innocent|Otto|Ferdinand|Francis|Joseph|"
    r"Wilhelm|Franz|Ramses|Ramesses|Ptolemy|Cleopatra|Rudolf|Maximilian|Leopold|Albert|Harald|Olaf|Gustav|Gustavus|"
    r"Christian|Carl|Karl|Felipe|Alfonso|Juan Carlos|Umberto|Victor Emmanuel|Boniface|Urban|Sixtus|Julius|Adrian|"
    r"Margaret|Margrethe|Beatrix|Darius|Xerxes|Cyrus|Mehmed|Murad|Selim|Haakon|Robert|Malcolm|Alexei|Anne|Constantine|"
    r"Theodosius|Justinian|Basil|Michael|Stephen|Matthias|Sigismund|Casimir|Rama|Thutmose|Amenhotep|Seti"
)
_MAY_BE_ONE = (
    r"Chapter|Book|Part|Volume|Act|Scene|World War|Section|Article|Canto|Phase|Type|Appendix|Stage|Level|Title|Figure|"
    r"Table|Episode|Season|Apollo|Gemini|Vatican|Schedule|Annex"
)
_AFTER_A_PERSON = (
    r"am|have|had|was|will|would|think|thought|love|like|read|took|take|want|need|know|knew|saw|see|met|made|wrote|did|do|"
    r"can|could|should|shall|may|might|must|never|always|ever|just|really|hate|bought|found|got|get|gave|learned|played|"
    r"said|went|go|used|own|call|called|chose|liked|loved|wanted"
)
"""Words before which "I" is a person, as in "the Part I like"."""
_TITLES = r"King|Queen|Pope|Emperor|Empress|Tsar|Czar|Kaiser|Pharaoh|Sultan|Prince|Shah|Patriarch"
_ORDERED = (
    r"centur(?:y|ies)|dynasty|dynasties|Olympiad|Olympics?|Olympic|Congress|Amendment|legion|Corps|Army|arrondissement|"
    r"millennium|anniversary|Winter|Summer"
)
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def roman_value(text: str) -> int:
    """``XIV`` as 14."""
    values = [_VALUES[c] for c in text.upper()]
    return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))


def _numbered(match: Match[str]) -> str:
    return f"{match[1]} {cardinal(roman_value(match[2]))}"


def _ruler(match: Match[str]) -> str:
    return f"{match[1]} the {ordinal(roman_value(match[2]))}"


RULES: list[Rule] = [
    # A year on a title page.
    (re.compile(rf"\b{_YEAR}\b"), lambda m: year(roman_value(m[0]))),
    (re.compile(r"\bWW(I{1,3})\b"), lambda m: f"world war {cardinal(roman_value(m[1]))}"),
    (re.compile(rf"\b({_ANY})(?= (?:{_ORDERED})\b)"), lambda m: ordinal(roman_value(m[1]))),
    (re.compile(rf"\b((?i:{_NUMBERED})) ({_LONG})(?![\w'])"), _numbered),
    (re.compile(rf"\b({_MAY_BE_ONE}) (I)(?![\w'])(?! (?:{_AFTER_A_PERSON})\b)"), _numbered),
    (re.compile(rf"\b((?i:act|scene|pages?|chapter|part|note|section)) ({_LOWER})\b"), _numbered),
    (re.compile(rf"\b((?:{_TITLES}) (?:[A-Z][a-z]+ )?[A-Z][a-z]+) ({_SMALL}|[IX])(?![\w'-])"), _ruler),
    (re.compile(rf"\b({_RULERS}) ({_SMALL})(?![\w-])"), _ruler),
    (re.compile(rf"\b({_RULERS}) (I)(?= (?:of|ruled|reigned|became|died|was)\b)"), _ruler),
    (re.compile(rf"\b([A-Z][a-z]{{2,}}) ((?=[IVX]{{2}}){_SMALL})(?![\w'&/-])"), _numbered),
]
