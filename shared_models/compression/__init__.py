"""Compression of what crosses the network, by recipe: one file a kind, combined here.

::

    codec = update_codec(recipe.compression, partition)     # None: float32 as it is
    payload, decoded = codec.compress(update, rng, limit=C)
    codec.decompress(payload)                               # decoded, or WireError

Every payload's length follows from recipe and model alone.
"""

from __future__ import annotations

from shared_models.compression.bounded import Bounded
from shared_models.compression.codec import Codec
from shared_models.compression.float16 import Float16
from shared_models.compression.integers import Integers
from shared_models.compression.low_rank import LowRank, factor_size
from shared_models.compression.plain import Float32
from shared_models.compression.top_k import TopK, count_of
from shared_models.compression_config import CompressionConfig
from shared_models.errors import RecipeError
from shared_models.partition import Partition

__all__ = ["Bounded", "Codec", "CompressionConfig", "bytes_a_round", "update_codec", "weights_codec"]


def update_codec(config: CompressionConfig, partition: Partition) -> Bounded | None:
    """How updates of this model travel to the server; None where they are not compressed."""
    size = partition.size
    match config.up:
        case "none":
            return None
        case "top_k":
            return Bounded(TopK(size, _numbers(config.values, count_of(size, config.share), config.block)))
        case "low_rank":
            values = _numbers(config.values, factor_size(partition.shared, config.rank), config.block)
            return Bounded(LowRank(size, partition.shared, config.rank, values))
        case kind:
            return Bounded(_numbers(kind, size, config.block))


def weights_codec(config: CompressionConfig, partition: Partition) -> Bounded | None:
    """How weights, or with ``delta`` their changes, travel to devices; None where they are not compressed."""
    if config.down == "none":
        return Bounded(Float32(partition.size)) if config.delta else None
    return Bounded(_numbers(config.down, partition.size, config.block))


def bytes_a_round(config: CompressionConfig, partition: Partition) -> tuple[int, int]:
    """What a device receives and sends in a round, without headers and without first weights sent along."""
    down, up = weights_codec(config, partition), update_codec(config, partition)
    plain = 4 * partition.size
    return down.length if down else plain, up.length if up else plain


def _numbers(kind: str, size: int, block: int) -> Codec:
    match kind:
        case "float32":
            return Float32(size)
        case "float16":
            return Float16(size)
        case "int8" | "int4" | "int2":
            return Integers(size, int(kind.removeprefix("int")), block)
        case _:
            raise RecipeError(
                f"there is no kind of numbers '{kind}': choose float32, float16, int8, int4 or int2"
            )
