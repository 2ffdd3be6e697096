"""A second memory of how far the ledger had come, outside of the device's home.

A ledger that is restored from a backup has forgotten what was spent since. The anchor holds the number of
entries and a hash chained over all of them, in the user's state folder; a ledger that does not begin with what
the anchor remembers is an older copy, or another, and nothing is released with it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from client.home.ledger import Entry, Ledger
from shared_models.errors import StaleCopyError
from shared_models.files import write_atomically
from shared_models.state_folder import state_folder as state_folder


class LedgerAnchor:
    """The anchor of one device, known by its home's own name (``identity`` in it)."""

    def __init__(self, identity: str, folder: Path | None = None) -> None:
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.path = (folder or state_folder()) / "anchors" / f"{name}.json"

    def check(self, ledger: Ledger) -> None:
        """Raise :class:`StaleCopyError` if the ledger has lost entries that were there when it was anchored."""
        count, digest = self._remembered()
        entries = ledger.history()
        if len(entries) < count:
            raise StaleCopyError(
                f"the ledger {ledger.path} holds {len(entries)} entries where this computer remembers {count}: it is "
                "an older copy, so put the newest one back; nothing is sent with a ledger that forgot what was spent"
            )
        if chained(entries[:count]) != digest:
            raise StaleCopyError(
                f"the ledger {ledger.path} is not the one that this computer remembers: put the right one back; "
                "nothing is sent with another device's ledger"
            )

    def move(self, ledger: Ledger) -> None:
        """Remember the ledger as it is now. Raises :class:`StorageError`."""
        entries = ledger.history()
        write_atomically(self.path, json.dumps({"count": len(entries), "chain": chained(entries)}))

    def _remembered(self) -> tuple[int, str]:
        try:
            content = json.loads(self.path.read_text())
            return int(content["count"]), str(content["chain"])
        except FileNotFoundError:
            return 0, chained([])
        except (OSError, ValueError, KeyError, TypeError):
            raise StaleCopyError(
                f"{self.path}, which remembers how far the ledger had come, cannot be read: mend its rights or put a "
                "backup in its place"
            ) from None


def chained(entries: list[Entry]) -> str:
    """A hash over all entries in their order: each one's goes into the next one's."""
    digest = b""
    for entry in entries:
        spend = entry.spend
        fields = [
            entry.id, spend.mechanism, spend.noise_multiplier, spend.sampling_probability, spend.steps,
            spend.unit, spend.run, spend.round, spend.purpose,
        ]  # fmt: skip
        digest = hashlib.sha256(digest + json.dumps(fields).encode()).digest()
    return digest.hex()
