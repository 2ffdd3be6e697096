"""Fewer blocks: a smaller model made of some of a larger one's, evenly chosen.

So DistilBERT begins (Sanh 2019, arXiv 1910.01108, section 3). The speaker's conditional norms leave with their blocks,
and so do their rows of the maps: a voice of the larger model speaks through the smaller one by the scales and shifts
that are left.
"""

from __future__ import annotations

import re

import torch

from shared_models.acoustic import build_model
from shared_models.acoustic.dimensions import Dimensions
from shared_models.acoustic.dimensions import dimensions as dimensions_of
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import Recipe
from shared_models.export.pruning import prune_acoustic, refuse_changed

_BLOCK = re.compile(r"^(acoustic\.(encoder|decoder))\.(\d+)")


def kept_blocks(present: int, kept: int) -> list[int]:
    """Which of ``present`` blocks stay: evenly many apart, the last among them."""
    return [-(-(number * present) // kept) - 1 for number in range(1, kept + 1)]


def kept_sites(before: Dimensions, after: Dimensions) -> list[int]:
    """Which of the S sites of the speaker's norms stay; negative for a norm that was everybody's before."""
    norms = [2 * b + n for b in kept_blocks(before.decoder_layers, after.decoder_layers) for n in (0, 1)]
    norms.append(2 * before.decoder_layers)
    plain_before = 2 * before.decoder_layers + 1 - before.sites
    return [norm - plain_before for norm in norms[len(norms) - after.sites :]]


def can_be_cut(before: Dimensions, after: Dimensions) -> bool:
    """Whether a model of ``after`` is one of ``before`` with fewer blocks and narrower feed-forward layers."""
    sites = kept_sites(before, after)
    every_norm = after.sites == 2 * after.decoder_layers + 1 or after.decoder_layers == before.decoder_layers
    return (
        after.filter <= before.filter
        and after.encoder_layers <= before.encoder_layers
        and after.decoder_layers <= before.decoder_layers
        and every_norm
        and min(sites) >= 0
        and _rest(before) == _rest(after)
    )


@torch.no_grad()
def cut(model: VoiceModel, recipe: Recipe, smaller: Recipe) -> VoiceModel:
    """``model``, of ``recipe``, cut to the sizes of ``smaller``, which it :func:`can_be_cut` to.

    Feed-forward layers lose their weakest channels (:func:`shared_models.export.pruning.prune_acoustic`). Raises
    :class:`RecipeError` as that does.
    """
    refuse_changed(model)
    sizes = dimensions_of(smaller.model)
    if sizes.filter < model.dimensions.filter:
        model, _ = prune_acoustic(model, recipe, sizes.filter)
    before = model.dimensions
    target = build_model(smaller, voices=model.voices.count)
    blocks = {
        "encoder": kept_blocks(before.encoder_layers, sizes.encoder_layers),
        "decoder": kept_blocks(before.decoder_layers, sizes.decoder_layers),
    }
    given = model.state_dict() | model.at_sites(kept_sites(before, sizes))
    state = {}
    for name in target.state_dict():
        source = _BLOCK.sub(lambda found: f"{found[1]}.{blocks[found[2]][int(found[3])]}", name)
        state[name] = given[source]
    target.load_state_dict(state)
    return target.train(model.training)


def _rest(d: Dimensions) -> tuple[object, ...]:
    sizes = (d.vocabulary, d.hidden, d.heads, d.kernel, d.postnet, d.style_channels, d.n_mels)
    return (*sizes, d.harmonics, d.mean_durations)
