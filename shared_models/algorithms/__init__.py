"""The kinds of algorithm that a recipe chooses among (``federation.algorithm``): a file each, and a line below."""

from __future__ import annotations

from shared_models.algorithms.algorithm import Algorithm
from shared_models.algorithms.centralised import CENTRALISED
from shared_models.algorithms.fedavg import FEDAVG
from shared_models.algorithms.fedper import FEDPER
from shared_models.algorithms.fedrep import FEDREP
from shared_models.algorithms.full import FULL
from shared_models.algorithms.local import LOCAL
from shared_models.algorithms.maml import ANIL, FOMAML, MAML
from shared_models.algorithms.meta_tts import (
    META_TTS,
    META_TTS_CENTRALISED,
    META_TTS_PERSONAL,
    META_TTS_PERSONAL_CENTRALISED,
)
from shared_models.algorithms.reptile import REPTILE

ALGORITHMS: dict[str, Algorithm] = {
    "fedavg": FEDAVG,
    "fedper": FEDPER,
    "fedrep": FEDREP,
    "full": FULL,
    "local": LOCAL,
    "centralised": CENTRALISED,
    "maml": MAML,
    "fomaml": FOMAML,
    "anil": ANIL,
    "reptile": REPTILE,
    "meta_tts": META_TTS,
    "meta_tts_centralised": META_TTS_CENTRALISED,
    "meta_tts_personal": META_TTS_PERSONAL,
    "meta_tts_personal_centralised": META_TTS_PERSONAL_CENTRALISED,
}
DEFAULT = "fedrep"


def described() -> str:
    """Every kind and what it does, in a line."""
    return "; ".join(f"{name}: {kind.description}" for name, kind in ALGORITHMS.items()) + "."
