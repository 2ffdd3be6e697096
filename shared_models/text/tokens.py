"""Normalised text as words and pauses."""

from __future__ import annotations


def split_tokens(normalised: str) -> list[str]:
    """``"well, no."`` as ``["well", ",", "no", "."]``."""
    return [token for word in normalised.split() for token in _split_pause(word)]


def _split_pause(word: str) -> list[str]:
    bare = word.rstrip(",.?!")
    return [part for part in (bare, word[len(bare) :]) if part]
