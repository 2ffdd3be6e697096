"""Sources of the speaker embedding: one file a kind, and one line here. A recipe names them in ``speaker.sources``.

What a source trains is a module of the model under the kind's name.
"""

from __future__ import annotations

SOURCES = {
    "table": "shared_models.speakers.sources.table.Table",
    "mel_style": "shared_models.speakers.sources.mel_style.MelStyleEncoder",
}
