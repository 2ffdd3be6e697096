"""Which parameters are one speaker's own: one file a kind, and one line here; ``speaker.personal`` in a recipe."""

from __future__ import annotations

ADAPTATIONS = {
    "vectors": "shared_models.speakers.adaptation.vectors.Vectors",
    "maps": "shared_models.speakers.adaptation.maps.PersonalMaps",
}
