"""Meta-TTS: MAML of a multi-speaker model, of which some layers adapt. Huang 2022 (arXiv 2111.04040).

The authors' code adapts the speaker embedding, the variance adaptor, the decoder, the projection to the mel and the
PostNet, and only the phoneme encoder stays. A stricter reading keeps to what belongs to one speaker: the personal set
adapts and nothing else, for which a rate of each number is learnt (``speaker.learned_rates``), because an embedding
alone does not adapt at the published rate. Both move the whole shared set in the outer loop.

The paper trains on pooled recordings; federated, the outer gradient is a client's update.
"""

from __future__ import annotations

from dataclasses import replace

from shared_models.algorithms.algorithm import Moves, Sends
from shared_models.algorithms.maml import ADAPTATION, MAML

META_TTS = replace(
    MAML,
    description="MAML of all but the phoneme encoder",
    inner=replace(ADAPTATION, layers=("variance", "decoder", "mel", "source", "postnet")),
)
META_TTS_PERSONAL = replace(
    MAML,
    description="MAML of the personal set alone",
    inner=replace(ADAPTATION, moves=Moves.PERSONAL, layers=None),
)
META_TTS_CENTRALISED = replace(
    META_TTS, description="meta_tts on pooled data, as in its paper", sends=Sends.RECORDINGS
)
META_TTS_PERSONAL_CENTRALISED = replace(
    META_TTS_PERSONAL, description="meta_tts_personal on pooled data", sends=Sends.RECORDINGS
)
