"""Sources of the speaker embedding: one file a kind, and one line here. A recipe names them in ``speaker.sources``.

What a source trains is a module of the model under the kind's name.
"""

from __future__ import annotations

SOURCES = {
    "table": "shared_models.speakers.sources.table.Table",
    "mel_style": "shared_models.speakers.sources.mel_style.MelStyleEncoder",
    "d_vector": "shared_models.speakers.sources.encoder_source.DVectorSource",
    "x_vector": "shared_models.speakers.sources.encoder_source.XVectorSource",
    "ecapa": "shared_models.speakers.sources.encoder_source.EcapaSource",
    "gst": "shared_models.speakers.sources.gst.GlobalStyleTokens",
    "hierarchical_gst": "shared_models.speakers.sources.gst.HierarchicalStyleTokens",
    "multiscale_gst": "shared_models.speakers.sources.multiscale_gst.MultiScaleStyleTokens",
    "basis": "shared_models.speakers.sources.basis.Basis",
    "vq": "shared_models.speakers.sources.vq.VectorQuantised",
    "wav2vec2": "shared_models.speakers.sources.self_supervised.Wav2Vec2",
    "hubert": "shared_models.speakers.sources.self_supervised.Hubert",
}
