"""Recordings of the packaged synthetic voices: speech that is always there."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = Path(__file__).parents[1] / "simulations" / "corpora" / "embedded"


def embedded_recordings(count: int) -> list[Path]:
    """So many recordings, spread over the voices."""
    found = sorted(EMBEDDED.rglob("*.ogg"))
    return found[:: len(found) // count][:count]
