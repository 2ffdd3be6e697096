"""How long PyTorch's threads wait actively for each other before they sleep.

GNU OpenMP, which PyTorch computes with on Linux, lets a thread that waits for the others check for them in a loop
before it sleeps: 300,000 times unless ``GOMP_SPINCOUNT`` says otherwise, which takes milliseconds. Where another
program needs the core, the looping thread delays the very thread that it waits for. ``fedvoice bench busy`` measures
what that costs.
"""

from __future__ import annotations

import os

SPINS = 10_000
"""Few enough to lose little time beside a busy program, and enough to lose next to none on a free machine."""
OWN_SPINS = 300_000
"""GNU OpenMP's own number."""


def wait_briefly() -> None:
    """Let threads turn :data:`SPINS` times, unless the environment says how they wait; before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
