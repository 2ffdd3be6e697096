"""How ``fedvoice serve`` says whose updates were left out of a round, and why: grouped, and safe to print.

A device's reason is text that a stranger chose. It is shown as text, without markup, and always with its count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from shared_models.shown_text import shown

Grouped = Mapping[str, Mapping[str, int]]


def grouped_of(line: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """The groups of one line of ``rounds.jsonl``; of an older server's, whose lines have none, one group."""
    groups = line.get("grouped")
    if groups is None:
        return {"left out": dict(line["dropped"])} if line.get("dropped") else {}
    return {str(kind): dict(words) for kind, words in groups.items()}


def lines(grouped: Grouped) -> Iterator[str]:
    """One line a kind and sentence, the commonest first: ``3 declined: policy modes: the recipe asks for ...``."""
    flat = [(count, kind, said) for kind, words in grouped.items() for said, count in words.items()]
    for count, kind, said in sorted(flat, key=lambda one: (-one[0], one[1], one[2])):
        words = shown(said)
        yield f"{count} {kind}" if words == kind else f"{count} {kind}: {words}"


def cell(grouped: Grouped) -> Text:
    """The same for a table's cell."""
    return Text("\n".join(lines(grouped)))


def places_line(places: Mapping[str, int]) -> str:
    """``2 online, 1 offline, 47 never joined``; states that no place is in are left out."""
    return ", ".join(f"{count} {state}" for state, count in places.items() if count)
