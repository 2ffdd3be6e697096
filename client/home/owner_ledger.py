"""The one ledger of an owner's utterances on a computer, for cloning and for live inner loops.

Privacy costs of one utterance compose. The same recordings may be cloned from and joined with, from several device
homes. So each user account has one ledger, in the user's data folder, and all its entries compose, also those about
different recordings: the total may be too high and is never too low. A device's own ledger (``<home>/ledger.sqlite``)
holds what its updates cost the person, which is another unit.

Earlier versions entered inner loops in the home's ledger, and kept the ledger of cloning beside ``$FEDVOICE_BASES``.
Their entries are copied into this ledger, once each, and remain where they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from client.home.kept_bases import bases_folder
from client.home.ledger import Ledger
from client.home.ledger_anchor import LedgerAnchor

HOMES = Path("~/.fedvoice")
"""Where device homes are by default."""


def owner_ledger_path() -> Path:
    """``$XDG_DATA_HOME/fedvoice/ledger.sqlite``, by default ``~/.local/share/fedvoice/ledger.sqlite``."""
    chosen = os.environ.get("XDG_DATA_HOME")
    return (Path(chosen) if chosen else Path.home() / ".local" / "share") / "fedvoice" / "ledger.sqlite"


def open_owner_ledger(epsilon: float | None, delta: float, *, home: Path | None = None) -> Ledger:
    """The owner's ledger with a budget, remembered outside of it, with all that older ledgers hold.

    ``home`` is the device's whose ledger is carried over besides those at the default place. Raises what
    :class:`~client.home.ledger.Ledger` does.
    """
    path = owner_ledger_path()
    ledger = Ledger(path, epsilon, delta, LedgerAnchor(f"ledger of utterances {path.resolve()}"))
    for older in _older_ledgers(path, home):
        ledger.carry_over(Ledger(older, None, delta))
    return ledger


def _older_ledgers(own: Path, home: Path | None) -> Iterator[Path]:
    places = [bases_folder().parent / "ledger.sqlite", *sorted(HOMES.expanduser().glob("*/ledger.sqlite"))]
    if home is not None:
        places.append(home / "ledger.sqlite")
    seen = {own.resolve()}
    for place in places:
        if place.resolve() not in seen and place.is_file():
            seen.add(place.resolve())
            yield place
