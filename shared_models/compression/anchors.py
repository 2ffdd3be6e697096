"""The weights that a change counts from, and the ones that every installation has."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from shared_models.partition import weights_hash
from shared_models.pretrained import ACOUSTIC
from shared_models.tensor_file import read_tensors


@lru_cache(maxsize=1)
def packaged_anchor() -> tuple[str, Tensor] | None:
    """Hash and shared weights ``(D,)`` of the base that ships, or None where it does not."""
    if not ACOUSTIC.is_file():
        return None
    weights = read_tensors(ACOUSTIC, "the packaged base", "install fedvoice again")[1].get("weights")
    return None if weights is None else (weights_hash(weights), weights)


def is_packaged(anchor: Tensor) -> bool:
    """Whether whoever has this version of FedVoice has these weights."""
    packaged = packaged_anchor()
    return packaged is not None and packaged[0] == weights_hash(anchor)
