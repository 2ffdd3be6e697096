"""What of an update leaves the device: clipped and compressed, of at most the clipping norm.

A codec that leaves coordinates out (top-k, low rank) would lose them for good; the device keeps what was not
sent and adds it to its next update of the run, before clipping, so that privacy's norm holds for their sum.
The remainder is as personal as an update: it is a file of the device's own, and never sent as such.

A device that takes part seldom brings an old remainder to new weights. ``compression.feedback`` below 1 makes
it fade (the "memory" of a biased codec: Karimireddy 2019, arXiv 1901.09847, algorithm 2, without decay there).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from client.home.device import Device
from client.task import Task
from shared_models import wire
from shared_models.clipping import clip
from shared_models.compression import update_codec
from shared_models.partition import PartitionedModel


def encode_update(
    model: PartitionedModel[Any],
    update: wire.Update,
    device: Device,
    task: Task,
) -> tuple[wire.Header, wire.Buffer]:
    """Clip and encode ``update`` by the recipe; its vector is overwritten.

    The remainder is on disk before this returns: a reply that is lost afterwards costs what
    it carried, and a round that is trained again starts from the same remainder as the first time.
    """
    recipe = task.recipe
    limit = recipe.privacy.clipping_norm if recipe.privacy.mode == "central" else None
    codec = update_codec(recipe.compression, model.partition)
    keeps = codec is not None and recipe.compression.keeps_remainder
    if keeps:
        remainder = device.load_remainder(task.run, task.round)
        if remainder is not None and remainder.shape == update.vector.shape:
            update.vector.add_(remainder, alpha=recipe.compression.feedback)
    if limit is not None:
        clip(update.vector, limit, in_place=True)
    if codec is None:
        return wire.encode(model, update)
    rng = np.random.Generator(np.random.SFC64(task.private_seed("rounding")))
    payload, decoded = codec.compress(update.vector, rng, limit)
    if keeps:
        device.save_remainder(task.run, task.round, update.vector - decoded)
    return wire.encode(model, update, wire.Compressed(codec.name, payload))
