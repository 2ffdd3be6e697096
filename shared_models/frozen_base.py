"""A base under a model that nobody trains: what is left to train is the shared style, and what is the voices' own.

Every side brings the base along. It never travels, and its content is part of the partition's schema.
"""

from __future__ import annotations

from pathlib import Path

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.base_model import load_base, packaged_base, weights_from
from shared_models.model_config import PACKAGED
from shared_models.partition import Owner, PartitionedModel
from shared_models.speakers.shared_style import STYLE, StyleFactors


def freeze_on(model: VoiceModel, where: str) -> None:
    """Give all of ``model`` but its style the weights of the base at ``where``, and make it ``Owner.FROZEN``.

    ``where`` is ``packaged`` or a path that :func:`load_base` reads. Raises :class:`RecipeError` for a base without one
    of the model's tensors, and :class:`CheckpointError` for one that cannot be read.
    """
    base = (packaged_base() if where == PACKAGED else load_base(Path(where))).model
    whole = PartitionedModel(model)
    whole.load_shared_vector(weights_from(base, whole, f"model.frozen {where!r}", own=(f"*.{STYLE}.*",)))
    for module in model.modules():
        if getattr(module, "belongs_to", None) is Owner.SHARED and not isinstance(module, StyleFactors):
            module.belongs_to = Owner.FROZEN  # type: ignore[assignment]  # this module's own, not its class's
