"""Every planted bug, by the promise that it breaks.

To add one: find the file of its kind here, name an edit whose old text stands once in its file (short, and of words
that will stay), say in one sentence what is promised, and name the narrowest test that notices whatever it draws.
"""

from __future__ import annotations

from mutants import (
    adaptations,
    admission,
    calls,
    clipping,
    cloning_bench,
    devices,
    embeddings,
    floors,
    ledger,
    live_round,
    lying_server,
    matrix,
    meta_learning,
    noise,
    odd_files,
    owners_terms,
    partition,
    personal_privacy,
    rounds,
    sources,
    texts,
)
from mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *noise.MUTANTS,
    *adaptations.MUTANTS,
    *rounds.MUTANTS,
    *clipping.MUTANTS,
    *ledger.MUTANTS,
    *live_round.MUTANTS,
    *partition.MUTANTS,
    *personal_privacy.MUTANTS,
    *admission.MUTANTS,
    *owners_terms.MUTANTS,
    *lying_server.MUTANTS,
    *calls.MUTANTS,
    *floors.MUTANTS,
    *devices.MUTANTS,
    *texts.MUTANTS,
    *embeddings.MUTANTS,
    *odd_files.MUTANTS,
    *cloning_bench.MUTANTS,
    *sources.MUTANTS,
    *meta_learning.MUTANTS,
    *matrix.MUTANTS,
)
