"""Made-up English sentences, as many as wanted, for synthetic speakers."""

from __future__ import annotations

import random

_WHO = (
    "The old gardener", "A young pilot", "My cousin", "The quiet teacher", "Her brother", "Our neighbour",
    "The baker", "A stranger", "The captain", "Each child", "The judge", "His sister", "A thirsty dog",
    "The whole village", "One clever fox", "The engineer", "That musician", "Nobody", "The shepherd",
    "A tall woman",
)  # fmt: skip
_DID = (
    "painted", "carried", "found", "followed", "measured", "forgot", "borrowed", "repaired", "watched",
    "sold", "hid", "polished", "described", "pushed", "chose", "weighed", "opened", "admired", "joined",
    "threw away",
)  # fmt: skip
_WHAT = (
    "the yellow boat", "a heavy box of books", "three small stones", "the garden gate", "a jar of honey",
    "the broken clock", "his favourite jacket", "a bright green kite", "the longest rope", "some warm bread",
    "the church bell", "a pair of leather shoes", "the treasure map", "two silver spoons", "a basket of figs",
    "the kitchen window", "an azure vase", "her father's violin", "the narrow bridge", "a cup of thin soup",
)  # fmt: skip
_WHERE = (
    "behind the school", "near the river", "before breakfast", "on a rainy Thursday", "in the valley",
    "without a word", "for the third time", "under the oak tree", "at the edge of the field",
    "during the storm", "after the long voyage", "in front of the house", "with great pleasure",
    "by the fire", "as usual", "far from the road", "just in time", "beyond the hills", "until noon",
    "for no reason",
)  # fmt: skip
_END = (".", ".", ".", ".", "!", "?")


def make_sentences(count: int, seed: int = 0) -> list[str]:
    """``count`` different sentences, the same ones for the same seed; at most 160,000."""
    source = random.Random(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        who, did, what, where = (source.choice(words) for words in (_WHO, _DID, _WHAT, _WHERE))
        if source.random() < 0.3:
            where = f"{where[0].upper()}{where[1:]}"
            who = who[0].lower() + who[1:]
            made[f"{where}, {who} {did} {what}."] = None
        else:
            made[f"{who} {did} {what} {where}{source.choice(_END)}"] = None
    return list(made)
