"""Where this user's computer remembers what a home alone could forget: outside of every home."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """``$XDG_STATE_HOME/fedvoice``, by default ``~/.local/state/fedvoice``."""
    chosen = os.environ.get("XDG_STATE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".local" / "state") / "fedvoice"
