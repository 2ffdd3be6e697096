"""How a voice acts on the acoustic model: one file a kind, and one line here; ``speaker.conditioning`` in a recipe.

The maps of a kind are a module of the model under the kind's name and ``_maps``.
"""

from __future__ import annotations

CONDITIONINGS = {
    "cln": "shared_models.speakers.conditioning.cln.ConditionalNorms",
}
