"""Abbreviations, titles and letters that are read by their names."""

from __future__ import annotations

import re
from re import Match

from shared_models.text.written_english.rules import Rule, letters

_SHORT = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "messrs": "messers", "dr": "doctor", "drs": "doctors",
    "prof": "professor", "capt": "captain", "col": "colonel", "gen": "general", "lt": "lieutenant",
    "sgt": "sergeant", "maj": "major", "rev": "reverend", "hon": "honorable", "gov": "governor",
    "pres": "president", "sen": "senator", "rep": "representative", "st": "saint", "mt": "mount",
    "jr": "junior", "sr": "senior", "co": "company", "inc": "incorporated", "ltd": "limited",
    "corp": "corporation", "dept": "department", "vs": "versus", "etc": "et cetera", "esq": "esquire",
    "approx": "approximately", "fig": "figure", "figs": "figures", "vol": "volume", "vols": "volumes",
    "ave": "avenue",
    "blvd": "boulevard", "jan": "january", "feb": "february", "aug": "august", "sept": "september", "oct": "october",
    "nov": "november", "dec": "december", "bros": "brothers", "univ": "university", "assn": "association",
    "govt": "government", "cpl": "corporal", "pvt": "private", "adm": "admiral", "cmdr": "commander",
    "supt": "superintendent",
    "fr": "father", "apt": "apartment", "mts": "mountains", "hwy": "highway", "pkwy": "parkway",
    "misc": "miscellaneous",
    "intl": "international", "natl": "national", "mfg": "manufacturing", "ext": "extension", "est": "established",
    "ed": "edition", "eds": "editors", "ch": "chapter", "sec": "section", "eq": "equation", "no": "number",
    "nos": "numbers",
    "tel": "telephone", "max": "maximum", "min": "minimum", "temp": "temperature", "ft": "fort", "rd": "road",
    "ln": "lane",
    "sq": "square", "pl": "place", "ct": "court", "ste": "suite", "cf": "compare", "ca": "circa",
    "al": "al", "ibid": "ibid",
}  # fmt: skip
_BEFORE_FIGURES = frozenset(
    {"ext", "ed", "ch", "sec", "eq", "no", "nos", "apt", "ste", "est", "tel", "ca", "figs", "vols"}
)
_BEFORE_CAPITALS = frozenset({"ft", "fr", "adm", "cpl", "pvt", "cmdr", "supt"})
_BEHIND_NAMES = frozenset({"rd", "ln", "sq", "pl", "ct", "ave", "blvd", "hwy", "pkwy"})
_ONLY_CAPITAL = frozenset(
    {
        "sen",
        "rep",
        "gen",
        "col",
        "fig",
        "vol",
        "co",
        "dec",
        "mt",
        "max",
        "min",
        "temp",
        "rev",
        "hon",
        "maj",
        "oct",
    }
    | {"nov", "jan", "feb", "aug"}
)
# These end with a full stop even inside a sentence, so the stop is no pause.
_ABBREVIATION = re.compile(
    rf"\b({'|'.join(sorted(_SHORT, key=len, reverse=True))})\.(?=\s*(\S?))", re.IGNORECASE
)
_STREETS = r"St|Ave|Rd|Blvd|Dr|Ln|Ct|Pl|Sq|Hwy|Pkwy"
_HOUSE = r"(?<=\d )((?:[NSEW]\.? )?(?:[A-Z]\w+ |\d+\w\w ){1,3}?)"
_STREET_NAMES = {
    "St": "street", "Ave": "avenue", "Rd": "road", "Blvd": "boulevard", "Dr": "drive", "Ln": "lane", "Ct": "court",
    "Pl": "place", "Sq": "square", "Hwy": "highway", "Pkwy": "parkway",
}  # fmt: skip
_DEGREES = {
    "PhD": "P H D",
    "DPhil": "D phil",
    "MSc": "M S C",
    "BSc": "B S C",
    "MPhil": "M phil",
    "BEd": "B ed",
    "LLM": "L L M",
}
_WORDS_IN_CAPITALS = frozenset(
    {
        "AND",
        "OR",
        "YES",
        "NO",
        "HE",
        "SHE",
        "HIS",
        "HER",
        "HIM",
        "ON",
        "OFF",
        "IN",
        "OUT",
        "UP",
        "DOWN",
        "BUY",
        "SELL",
    }
    | {"WIN", "LOSE", "READ", "WRITE", "START", "STOP"}
)
_LETTER_NOUNS = (
    r"vitamins?|plans?|sections?|types?|groups?|teams?|options?|parts?|figures?|tables?|appendix|levels?|class|gates?|"
    r"buildings?|blocks?|grades?|hepatitis|influenza|exhibits?|category|track|side|route|zones?|division|serie|annex|"
    r"points?|letters?|schedule|series|model|wing|unit|concourse|terminal|platform|line|item|step|columns?|rows?|variant|"
    r"strain|cabin|tier|pool|category|question|answer|choice|version|site|phase|size|players?|person|house|channel|key"
)


def _abbreviation(match: Match[str]) -> str:
    short, following = match[1].lower(), match[2]
    before = match.string[max(0, match.start() - 24) : match.start()]
    if not _applies(short, match[1][0].isupper(), following, before):
        return match[0]
    words = _SHORT[short]
    if short == "st" and not following.isupper():
        words = "street"
    # At the end of the text the stop ends the sentence as well.
    return words + ("" if following else ".")


def _applies(short: str, capital: bool, following: str, before: str) -> bool:
    """Whether what stands beside a short form lets it be one: "no." before figures, "Rd." behind a name."""
    if short in _BEFORE_FIGURES:
        return following.isdigit() or (short == "tel" and following in {":", "+"})
    if short in _BEFORE_CAPITALS:
        return capital and following.isupper()
    if short in _BEHIND_NAMES:
        return capital and re.search(r"(?:[A-Z0-9][\w']* |\dth )$", before) is not None
    if short == "cf":
        return bool(following)
    if short == "al":
        return before.endswith("et ")
    return capital or short not in _ONLY_CAPITAL or (short in {"fig", "vol"} and following.isdigit())


def _pages(match: Match[str]) -> str:
    return "pages " if len(match[1]) == 2 else "page "


def _street(match: Match[str]) -> str:
    return f"{match[1]} {_STREET_NAMES[match[2]]}"


def _slashed(match: Match[str]) -> str:
    parts = match[0].split("/")
    return " ".join(part if part in _WORDS_IN_CAPITALS or len(part) > 4 else letters(part) for part in parts)


def _joined(match: Match[str]) -> str:
    return f"{letters(match[1])} and {letters(match[2])}{match[3] or ''}"


def _one_letter_word(match: Match[str]) -> str:
    """A and I are words, unless what is beside them tells that they are letters: "Vitamin A", "A and B"."""
    before, behind = match.string[max(0, match.start() - 24) : match.start()], match.string[match.end() :][:8]
    if match[0] == "I":
        return "I" if re.match(r"/[A-Z]\b|-\d{1,3}\b", behind) or before.endswith("letter ") else "i"
    named = re.search(rf"\b(?:{_LETTER_NOUNS}) $", before, re.IGNORECASE)
    listed = re.search(r"(?<![\w.])[B-Z](?: (?:and|or|to|vs\.?)|,) $", before)
    lists = re.match(r"(?:,| and| or| to| versus| ?&|/|-| -) ?[B-Z](?![\w'.])", behind)
    graded = re.match(r"(?:'s\b|[+*]|-(?=[\s,.!?]|$))", behind) or before.endswith(("n ", "straight "))
    article_before = re.search(r"\b[Aa]n $", before)
    joined = before.endswith(("&", "& "))
    return (
        "A" if joined or named or listed or lists or article_before or (graded and behind[:1] != "") else "a"
    )


FIRST: list[Rule] = [(re.compile(r"(?<![\w.])[AI](?![\w.$])"), _one_letter_word)]
"""Read before whatever writes letters by their names: these two are words otherwise."""
RULES: list[Rule] = [
    (re.compile(r"\b([A-Z]{1,4}) ?& ?([A-Z]{1,4})('?s)?\b"), _joined),
    (re.compile(r"\b[A-Z]{1,6}(?:/[A-Z]{1,6})+\b"), _slashed),
    (re.compile(r"\bPh\. ?D\.?(s?)(?=\W|$)"), lambda m: f"P H D{chr(39) + 's' if m[1] else ''}"),
    (re.compile(r"\b([BM])\.? ?Sc\b\.?"), r"\1 S C"),
    (re.compile(r"\b(i|mac|watch|tv)OS\b"), r"\1 O S"),
    (re.compile(rf"\b({'|'.join(_DEGREES)})(s?)\b"), lambda m: f"{_DEGREES[m[1]]}{chr(39) + 's' if m[2] else ''}"),
    (re.compile(r"\b[eE]\.g\."), "for example"),
    (re.compile(r"\b[iI]\.e\."), "that is"),
    (re.compile(r"(?<!\w)w/o(?!\w)"), "without"),
    (re.compile(r"(?<!\w)w/ ?(?=\w)"), "with "),
    (re.compile(r"(?<!\w)b/c(?!\w)"), "because"),
    (re.compile(r"(?<!\w)c/o(?!\w)"), "care of"),
    (re.compile(r"(?<!\w)[nN]/[aA](?!\w)"), "N A"),
    (re.compile(r"\b[cC]\. ?(?=1\d{3}\b)"), "circa "),
    (re.compile(r"\b(pp?)\. ?(?=\d)"), _pages),
    (re.compile(r"\bNos\.? ?(?=\d)"), "numbers "),
    (re.compile(r"\bNo\.? ?(?=\d)"), "number "),
    (re.compile(r"§§? ?(?=\d)"), "section "),
    (re.compile(rf"{_HOUSE}({_STREETS})\b\.?(?= [A-Z0-9#]|,|$|\.| [a-z])"), (
        lambda m: f"{_compass(m[1])}{_STREET_NAMES[m[2]]}"
    )),
    (_ABBREVIATION, _abbreviation),
    (re.compile(r"\b(Mr|Mrs|Ms|Dr|vs)\b(?!\.)"), lambda m: _SHORT[m[1].lower()]),
]  # fmt: skip


def _compass(name: str) -> str:
    names = {"N": "north", "S": "south", "E": "east", "W": "west"}
    return re.sub(r"^([NSEW])\.? ", lambda m: f"{names[m[1]]} ", name)


LAST: list[Rule] = [
    (re.compile(r"\b(?:[A-Za-z]\.){2,}"), lambda m: m[0].replace(".", " ").upper()),
    (re.compile(r"\b([B-HJ-Z])\.(?= ?[A-Z])"), lambda m: f"{m[1]} "),
]
"""Read behind all numbers: initials and letters with stops."""
