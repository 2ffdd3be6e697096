"""A second memory of how many rounds a run has released, outside of the server's home.

A home that is put back from an older copy has forgotten its last rounds. It would release them again, with other noise
and from other people, and its accountant would count them once. The memory holds the last round whose weights anybody
could have seen, in the user's state folder. A home that knows of fewer is refused, or those rounds are charged.
It does not help where home and state folder are put back together; the devices then say what they remember
(:func:`server.fruitless.refuse_if_rolled_back`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from shared_models.errors import StaleCopyError
from shared_models.files import write_atomically
from shared_models.state_folder import state_folder


class ReleaseMemory:
    """The memory of one run, known by its name."""

    def __init__(self, run: str, folder: Path | None = None) -> None:
        name = hashlib.sha256(run.encode()).hexdigest()[:32]
        self.path = (folder or state_folder()) / "released" / f"{name}.json"

    @property
    def released(self) -> int:
        """The last released round; 0 if none. Raises :class:`StaleCopyError` if it cannot be read."""
        try:
            return int(json.loads(self.path.read_text())["round"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError):
            raise StaleCopyError(
                f"{self.path}, which remembers how many rounds were released, cannot be read: mend its rights or put "
                "a backup in its place"
            ) from None

    def move(self, round_number: int) -> None:
        """Remember that this round was released; never less than before. Raises :class:`StorageError`."""
        if round_number > self.released:
            write_atomically(self.path, json.dumps({"round": round_number}))

    def lost(self, known: int, charged_until: int) -> int:
        """How many released rounds a home that knows of ``known`` has lost, all of them to be charged.

        Raises :class:`StaleCopyError` if there are some beyond ``charged_until``, up to which the operator said that
        they are to be counted as spent.
        """
        released = self.released
        if released <= max(known, charged_until):
            return max(0, released - known)
        raise StaleCopyError(
            f"this home knows of {known} rounds and this computer remembers {released} released ones: it is an older "
            "copy, so put the newest one back, or count the lost rounds as spent with fedvoice serve --charge-lost"
        )
