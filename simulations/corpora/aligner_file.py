"""An aligner that was trained alone, as a file, and the base that it is put into.

A base whose corpus brought alignments never learnt to make any, and its users' recordings bring none. The
aligner that made the corpus's alignments knows nothing of speakers and touches nothing that speaks, so that
a base can be given it afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.base_model import BaseModel
from shared_models.config import Recipe
from shared_models.errors import CheckpointError
from shared_models.files import write_atomically
from shared_models.partition import PartitionedModel, weights_hash
from shared_models.tensor_file import read_tensors
from shared_models.text.symbols import SYMBOLS

FORMAT = "fedvoice-aligner-1"


def save_aligner(path: Path, model: VoiceModel, recipe: Recipe) -> None:
    """Write the aligner of ``model``, and what recordings and texts it understands, to ``path``.

    Raises :class:`CheckpointError` for a model without one, and StorageError.
    """
    if model.aligner is None:
        raise CheckpointError("this model has no aligner to save: train one with aligner.learn = 'always'")
    weights = {name: tensor.contiguous() for name, tensor in model.aligner.state_dict().items()}
    header = {"format": FORMAT, "settings": json.dumps(_settings(recipe))}
    write_atomically(path, save(weights, header))


def with_aligner(base: BaseModel, path: Path) -> BaseModel:
    """``base`` with the aligner in ``path`` among its shared weights: it speaks as before, bit for bit.

    Its recipe has ``aligner.learn = "auto"`` then: alignments that recordings bring are believed, and others
    are found. Raises :class:`CheckpointError` if the base has an aligner already, or the file is not one, or is
    of other sizes, features or symbols.
    """
    if base.model.model.aligner is not None:
        raise CheckpointError(f"the base has an aligner of its own: publish it without {path}")
    header, weights = read_tensors(path, "the aligner", "make it again with simulations.corpora.align")
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not an aligner's file: name the aligner.safetensors of simulations.corpora.align"
        )
    learnt, wanted = json.loads(header["settings"]), _settings(base.recipe)
    if different := [name for name, value in wanted.items() if learnt.get(name) != value]:
        raise CheckpointError(
            f"the aligner {path} was trained with other {' and '.join(different)} than the base: train it again with "
            "the base's"
        )
    recipe = base.recipe.override({"aligner.learn": "auto"})
    model = build_model(recipe)
    assert model.aligner is not None
    if _shapes(model.aligner.state_dict()) != _shapes(weights):
        raise CheckpointError(
            f"the aligner {path} is of another size than the base's model.size = '{recipe.model.size}' makes, with "
            f"model.hidden = {model.dimensions.hidden}: train it with --set model.hidden={model.dimensions.hidden}"
        )
    model.load_state_dict(base.model.model.state_dict(), strict=False)
    model.aligner.load_state_dict(weights)
    model.eval()
    partitioned = PartitionedModel(model)
    found = weights_hash(partitioned.shared_vector())
    return replace(base, model=partitioned, recipe=recipe, hash=found)


def _settings(recipe: Recipe) -> dict[str, object]:
    """What decides how a recording looks and a text reads to an aligner."""
    return {"features": recipe.features.model_dump(mode="json"), "symbols": list(SYMBOLS)}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
