"""Bugs in the bound on one person's update."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_CLIPPING = "shared_models/clipping.py"
_UPDATE = "client/rounds/compressed_update.py"
_OF_UPDATES = "client/rounds/test_compressed_update.py::"
_OF_CLIPPING = "server/test_aggregation.py::"
_CLIP = "    if limit is not None:\n        clip(update.vector, limit, in_place=True)\n"

MUTANTS = (
    mutant(
        "l2_norm misses last block",
        "the norm is of the whole update",
        Edit(
            _CLIPPING,
            "for start in range(0, flat.size, _BLOCK):",
            "for start in range(0, max(1, flat.size - _BLOCK), _BLOCK):",
        ),
        _OF_CLIPPING + "test_nan_and_infinity_are_refused_wherever_they_are",
    ),
    mutant(
        "clip lets 2C through",
        "no update is longer than the clipping norm",
        Edit(_CLIPPING, "if before <= norm:", "if before <= 2 * norm:"),
        _OF_CLIPPING + "test_an_update_above_the_norm_is_clipped_and_no_other[1.9]",
    ),
    mutant(
        "client does not clip",
        "a device clips its update itself",
        Edit(_UPDATE, "    if limit is not None:\n        clip(", "    if False:\n        clip("),
        "client/test_app.py::test_an_update_is_clipped_under_central_privacy_and_only_then",
    ),
    mutant(
        "clip one tensor fewer",
        "every tensor of an update counts towards its norm",
        Edit(
            _UPDATE,
            "clip(update.vector, limit, in_place=True)",
            "clip(update.vector[: model.partition.shared[-1].start], limit, in_place=True)",
        ),
        "client/test_app.py::test_an_update_is_clipped_under_central_privacy_and_only_then",
    ),
    mutant(
        "clip per tensor",
        "one norm is held over the whole update",
        Edit(
            _UPDATE,
            "clip(update.vector, limit, in_place=True)",
            "[clip(update.vector[t.start : t.stop], limit, in_place=True) for t in model.partition.shared]",
        ),
        "client/test_app.py::test_an_update_is_clipped_under_central_privacy_and_only_then",
    ),
    mutant(
        "no clip at all when compressed",
        "what is compressed is clipped as well",
        (
            Edit(_UPDATE, "    if limit is not None:\n", "    if limit is not None and codec is None:\n"),
            Edit(
                _UPDATE,
                "codec.compress(update.vector, rng, limit)",
                "codec.compress(update.vector, rng, None)",
            ),
        ),
        _OF_UPDATES + "test_with_what_was_left_over_it_is_still_within_the_clip[int8]",
    ),
    mutant(
        "decoded vector not held to limit",
        "what the server decodes is within the clip, whatever rounding did",
        Edit(
            _UPDATE, "codec.compress(update.vector, rng, limit)", "codec.compress(update.vector, rng, None)"
        ),
        _OF_UPDATES + "test_with_what_was_left_over_it_is_still_within_the_clip[int2]",
    ),
    mutant(
        "remainder added after clip",
        "the clip covers an update and what was left over of the last together",
        (
            Edit(
                _UPDATE,
                "            update.vector.add_(remainder, alpha=recipe.compression.feedback)\n" + _CLIP,
                "            pass\n" + _CLIP + "    if keeps and remainder is not None:\n"
                "        update.vector.add_(remainder)\n",
            ),
        ),
        _OF_UPDATES + "test_what_clipping_took_is_not_kept",
    ),
    mutant(
        "remainder kept with what the clip took",
        "what clipping took is gone, and does not come with later updates",
        (
            Edit(_UPDATE, _CLIP, "    whole = update.vector.clone()\n" + _CLIP),
            Edit(_UPDATE, "update.vector - decoded)", "whole - decoded)"),
        ),
        _OF_UPDATES + "test_what_clipping_took_is_not_kept",
    ),
)
