"""Speaker encoders: networks that were, or are, trained to tell speakers apart. One file a kind, and one line here.

They are plain modules: whose their tensors are says the module that holds one. What only scores
(:mod:`shared_models.audio.similarity`) never trains and is never a source of a voice that it scores.
"""

from __future__ import annotations

ENCODERS = {
    "d_vector": "shared_models.speakers.encoders.d_vector.DVector",
    "x_vector": "shared_models.speakers.encoders.x_vector.XVector",
    "ecapa": "shared_models.speakers.encoders.ecapa.Ecapa",
}
