"""Randomness that repeats: every draw has its own seed, derived from what it is for.

Nothing depends on how many numbers were drawn before, so a resumed run, another engine or another order
of clients draws the same numbers.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part, e.g. ``derive_seed(recipe.seed, "cohort", round)``."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))
