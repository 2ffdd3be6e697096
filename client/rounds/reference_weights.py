"""What a device compares weights with: the base that is installed here, or a fresh model of the same shape."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from shared_models.compression.anchors import packaged_anchor
from shared_models.config import Recipe, recipe_from_json
from shared_models.federated_model import federated_model, model_key
from shared_models.partition import Partition
from shared_models.pretrained import ACOUSTIC
from shared_models.tensor_file import read_tensors

FROM_A_FRESH_MODEL = 2.0


def reference_for(recipe: Recipe, partition: Partition) -> tuple[Tensor, float]:
    """The packaged base's shared set ``(D,)`` if it has the ``partition``'s shape, else a fresh model's.

    And how much farther than from a trained base weights may be: a fresh model has all of training before it.
    """
    packaged = packaged_anchor()
    if packaged is not None and _schema_of_packaged() == partition.schema:
        return packaged[1], 1.0
    return _fresh(model_key(recipe)), FROM_A_FRESH_MODEL


@lru_cache(maxsize=1)
def _schema_of_packaged() -> str:
    return str(read_tensors(ACOUSTIC, "the packaged base", "install fedvoice again")[0].get("schema", ""))


@lru_cache(maxsize=1)
def _fresh(key: str) -> Tensor:
    return federated_model(recipe_from_json(key)).shared_vector()
