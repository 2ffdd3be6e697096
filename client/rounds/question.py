"""Everything that a server asked with: two questions are the same only if they agree in all of it.

The digest covers all that an answer can depend on: the run, the round, every field of the recipe, the weights, the
population and every other field of the header. Two fields are left out, because they describe the sending and not the
question: ``attempt``, since a server that crashed asks the same again under the next number, and ``seen``, what the
server counted of this device before.

The digest keeps its full 256 bits. With half of them a server could search for two questions of one digest, and get
the second answered as if it were paid for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared_models import wire
from shared_models.config import Recipe
from shared_models.partition import weights_hash

OF_THE_SENDING = frozenset({"attempt", "seen"})


@dataclass(frozen=True, slots=True)
class Question:
    """One round of one run, as it was put."""

    run: str
    round: int
    weights: str
    """Digest of the weights to start from."""
    digest: str
    """Digest of everything."""

    @classmethod
    def of(cls, header: Mapping[str, Any], recipe: Recipe, weights: wire.Weights) -> Question:
        """The question of a ``train`` message; the recipe as it was understood, the weights as they were decoded."""
        start = weights_hash(weights.vector)
        fields = {name: value for name, value in header.items() if name not in OF_THE_SENDING}
        fields |= {"recipe": recipe.model_dump_json(), "weights": start}
        described = json.dumps(fields, sort_keys=True, default=_plain)
        digest = hashlib.sha256(described.encode()).hexdigest()
        return cls(str(header["run"]), weights.round, start, digest)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a header holds no {type(value).__name__}")
