"""Addresses of the web and of e-mail, names of files, hashtags and handles."""

from __future__ import annotations

import re
from re import Match

from shared_models.text.numbers import cardinal, digits
from shared_models.text.written_english.rules import Rule, letters

_SIGNS = {
    ".": "dot", "/": "slash", "@": "at", "-": "dash", "_": "underscore", "+": "plus", ":": "colon", "~": "tilde",
}  # fmt: skip
_WORDS = frozenset({"co", "me", "com", "org", "net", "gov", "info", "app", "dev", "mil", "name", "shop"})
_ENDINGS = r"com|org|net|edu|gov|io|co|uk|de|fr|eu|ai|tv|info|app|dev|cn|jp|au|ca|us|me"
_FILES = (
    r"pdf|txt|csv|tsv|docx?|xlsx?|pptx?|jpe?g|png|gif|svg|mp3|mp4|wav|flac|ogg|avi|mov|zip|tar|gz|exe|py|js|ts|html?|"
    r"css|json|xml|md|toml|ya?ml|sh|cpp|java|ini|log|bat|apk|iso"
)
_FILE_WORDS = frozenset(
    {"jpeg", "gif", "wav", "zip", "tar", "json", "toml", "java", "log", "bat", "doc", "yaml"}
)


def _address(match: Match[str]) -> str:
    written = match[0]
    tail = re.search(r"[.,!?;:]+$", written)
    address = re.sub(r"^(?:https?|ftp)://(?:www\.)?|^www\.", "", written.rstrip(".,!?;:"))
    address = re.sub(r"[?#].*$", "", address).rstrip("/")
    return f" {_spoken_address(address)}{tail[0] if tail else ''} "


def _spoken_address(address: str) -> str:
    host, slash, path = address.partition("/")
    user, at, host = host.rpartition("@")
    domain, dot, ending = host.rpartition(".")
    said = [*_parts(user), *(["at"] if at else []), *_parts(domain)]
    if dot:
        said += ["dot", *_ending(ending)]
    else:
        said += _parts(host)
    return " ".join([*said, *_parts(slash + path)])


def _ending(ending: str) -> list[str]:
    if ending.isascii() and ending.isalpha() and (len(ending) == 2 or ending.lower() == "edu"):
        return [ending.lower() if ending.lower() in _WORDS else letters(ending)]
    return _parts(ending)


def _parts(text: str) -> list[str]:
    """Words, letters, figures and signs of a part of an address."""
    found = []
    for part in re.findall(r"[A-Za-z']+|\d+|[^\sA-Za-z\d']", text):
        if part.isdigit():
            found.append(cardinal(int(part)) if len(part) < 3 and part[0] != "0" else digits(part))
        elif part[0].isascii() and part[0].isalpha():
            # A part without a vowel, such as bbc, is letters.
            spelled = len(part) == 1 or (len(part) <= 5 and not re.search("[aeiouy]", part, re.IGNORECASE))
            found.append(letters(part) if spelled else part.lower())
        else:
            found.append(_SIGNS.get(part, part))
    return found


def _file(match: Match[str]) -> str:
    name, ending = match[1], match[2]
    said = ending.lower() if ending.lower() in _FILE_WORDS else re.sub(r"\d+", r" \g<0> ", letters(ending))
    return f" {' '.join(_parts(name))} dot {said} "


def _tag(match: Match[str]) -> str:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z']+|\d+", match[2])
    said = " ".join(word if word.isupper() or word.isdigit() else word.lower() for word in words)
    return f"{'hashtag' if match[1] == '#' else 'at'} {said or match[2]}"


RULES: list[Rule] = [
    (re.compile(r"(?:https?://|ftp://|www\.)\S+|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), _address),
    (
        re.compile(rf"(?<![\w.@-])(?:[\w-]+\.)+(?:{_ENDINGS})\b(?![.-]\w)(?::\d+)?(?:/\S*)?", re.IGNORECASE),
        _address,
    ),
    (re.compile(rf"(?<![\w.-])([A-Za-z][\w-]*)\.({_FILES})\b(?!\.\w)"), _file),
    (re.compile(r"(?<!\w)([#@])([A-Za-z_]\w*)"), _tag),
    (re.compile(r"\b([A-G])#(?!\w)"), r"\1 sharp"),
    (re.compile(r"\bC\+\+"), "C plus plus"),
]
"""Read before all others, because a stop or a slash inside an address ends nothing."""
