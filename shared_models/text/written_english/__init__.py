"""How each class of written English is read aloud; one file a class.

The order matters: a class that may hold another's form is read first (a date before a fraction), and what no class
knows is left to the next.
"""

from __future__ import annotations

from functools import lru_cache

from shared_models.text.written_english import (
    abbreviations,
    calendar_dates,
    clock,
    codes,
    measures,
    money,
    quantities,
    roman,
    web,
)
from shared_models.text.written_english.rules import Rule


@lru_cache(maxsize=2)
def english_rules(day_first: bool = False) -> tuple[Rule, ...]:
    """All rules in their order; ``day_first`` where 5/6 is the fifth of June."""
    return (
        *roman.RULES,
        *abbreviations.FIRST,
        *web.RULES,
        *abbreviations.RULES,
        *calendar_dates.dates(day_first),
        *clock.RULES,
        *money.RULES,
        *codes.RULES,
        *measures.RULES,
        *quantities.RULES,
        *abbreviations.LAST,
    )
