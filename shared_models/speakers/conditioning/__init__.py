"""How a voice acts on the acoustic model: one file a kind, and one line here; ``speaker.conditioning`` in a recipe.

The maps of a kind are a module of the model under the kind's name and ``_maps``.
"""

from __future__ import annotations

from typing import Literal

CONDITIONINGS = {
    "cln": "shared_models.speakers.conditioning.cln.ConditionalNorms",
    "saln": "shared_models.speakers.conditioning.saln.StyleAdaptiveNorms",
    "add": "shared_models.speakers.conditioning.add.Added",
    "concat": "shared_models.speakers.conditioning.concat.Concatenated",
}
Place = Literal["encoder", "variance", "decoder"]
"""Parts of the acoustic model that have norms: the encoder 2 n, the variance predictors 6, the decoder 2 n + 1."""
