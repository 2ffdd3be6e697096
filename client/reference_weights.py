"""What a device compares weights with: the base that is installed here, or a fresh model of the same shape."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from shared_models.acoustic import build_model
from shared_models.compression.anchors import packaged_anchor
from shared_models.config import Recipe, recipe_from_json
from shared_models.partition import Partition, PartitionedModel
from shared_models.pretrained import ACOUSTIC
from shared_models.tensor_file import read_tensors
from shared_models.vocoders.adversarial_model import AdversarialVocoder

_DESCRIBES_A_MODEL = {"trains", "model", "speaker", "aligner", "vocoder", "seed", "federation"}


def reference_for(recipe: Recipe, partition: Partition) -> Tensor:
    """The packaged base's shared set ``(D,)`` if it has the ``partition``'s shape, else a fresh model's."""
    packaged = packaged_anchor()
    if packaged is not None and _schema_of_packaged() == partition.schema:
        return packaged[1]
    return _fresh(recipe.model_dump_json(include=_DESCRIBES_A_MODEL), recipe.federation.algorithm == "full")


@lru_cache(maxsize=1)
def _schema_of_packaged() -> str:
    return str(read_tensors(ACOUSTIC, "the packaged base", "install fedvoice again")[0].get("schema", ""))


@lru_cache(maxsize=1)
def _fresh(key: str, share_everything: bool) -> Tensor:
    recipe = recipe_from_json(key)
    model: nn.Module = AdversarialVocoder(recipe) if recipe.trains == "vocoder" else build_model(recipe)
    fresh: PartitionedModel[Any] = PartitionedModel(
        model, Partition.of(model, share_everything=share_everything)
    )
    return fresh.shared_vector()
