"""Aggregates that a few hostile participants cannot steer: median, trimmed mean and multi-Krum.

Sources: coordinate-wise median and trimmed mean, Yin 2018 (arXiv 1803.01498); Krum, Blanchard 2017 (arXiv
1703.02757), with the n - f - 2 updates averaged that Damaskinos 2019 (AggregaThor) calls multi-Krum. Trimming
and Krum's choice are Flower's own functions; this is the one place on the server that calls into its strategies,
and a contract test holds them to what is assumed.

What they cost. Memory: the cohort's updates are held at once, cohort x D x 4 bytes, where the mean needs one sum
of D x 8 bytes. Accuracy: they weigh honest devices unequally, and speakers differ, so that an unusual voice
looks like an outlier. Privacy: they cannot be combined with central noise. That noise is calibrated to how far
one person moves the *sum*, which is the clipping norm. A median is moved by the gap between its neighbours, and
Krum may choose another set of updates altogether, however small one person's update: their worst-case
sensitivity does not fall with the cohort, so the noise would have to be about cohort times as large. Clipping
alone already bounds what k hostile participants do to a private mean: k times the clipping norm over the cohort.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from flwr.serverapp.strategy.multikrum import select_multikrum
from numpy.typing import NDArray
from torch import Tensor

from server.aggregation import StreamingSum
from shared_models.config import FederationConfig
from shared_models.errors import FedVoiceError

_BLOCK = 1 << 16

Rows = list[NDArray[np.float32]]


class Aggregate(Protocol):
    """What a round gathers validated updates in."""

    @property
    def count(self) -> int:
        """Updates so far."""

    def add(self, member: int, update: Tensor) -> None:
        """Take in the update ``(D,)`` of a member; the tensor is not kept."""

    def result(self) -> Tensor:
        """The aggregated update ``(D,)`` float32; the same for any order of adding."""


class Mean:
    """The plain mean, by an exact sum."""

    def __init__(self, size: int) -> None:
        self.total = StreamingSum(size)

    @property
    def count(self) -> int:
        """See :class:`Aggregate`."""
        return self.total.count

    def add(self, member: int, update: Tensor) -> None:  # noqa: ARG002
        """See :class:`Aggregate`."""
        self.total.add(update)

    def result(self) -> Tensor:
        """See :class:`Aggregate`; zeros where there are no updates."""
        return self.total.mean(max(1, self.total.count))


class Robust:
    """Median, trimmed mean or multi-Krum of updates that are all held until the round's end."""

    def __init__(self, config: FederationConfig, size: int) -> None:
        self._config = config
        self._size = size
        self._held: dict[int, NDArray[np.float32]] = {}

    @property
    def count(self) -> int:
        """See :class:`Aggregate`."""
        return len(self._held)

    def add(self, member: int, update: Tensor) -> None:
        """See :class:`Aggregate`."""
        self._held[member] = update.numpy().copy()

    def result(self) -> Tensor:
        """See :class:`Aggregate`. Raises :class:`FedVoiceError` for fewer updates than it takes."""
        if not self._held:
            return torch.zeros(self._size)
        if self.count < self._config.fewest_updates:
            raise FedVoiceError(
                f"{self.count} updates came where federation.aggregation '{self._config.aggregation}' needs "
                f"{self._config.fewest_updates} to bear {self._config.hostile} hostile ones: raise cohort, or lower "
                "hostile"
            )
        # By member, so that the order of arrival decides no tie and no rounding.
        rows = [self._held[member] for member in sorted(self._held)]
        match self._config.aggregation:
            case "median":
                return median(rows)
            case "trimmed_mean":
                return trimmed_mean(rows, self._config.trim_fraction, self._config.hostile)
            case _:
                return multi_krum(rows, self._config.hostile, self._config.krum_selected)


def aggregate_for(config: FederationConfig, size: int) -> Aggregate:
    """What a recipe's rounds gather updates of ``size`` coordinates in."""
    return Mean(size) if config.aggregation == "mean" else Robust(config, size)


def median(rows: Rows) -> Tensor:
    """The median of each coordinate, ``(D,)``; bears any minority of hostile updates."""
    return _by_blocks(rows, lambda block: np.median(block, axis=0))


def trimmed_mean(rows: Rows, fraction: float, hostile: int = 0) -> Tensor:
    """The mean ``(D,)`` of each coordinate without its largest and smallest values.

    At each end ``fraction`` of the values goes, rounded up, and at least ``hostile``: rounded down, as usual,
    a small or partial cohort would lose its protection without a word.
    """
    count = len(rows)
    cut = min(max(math.ceil(fraction * count), hostile), (count - 1) // 2)
    # Flower's function takes a share and rounds it down, so this is the share that gives just ``cut``.
    share = (cut + 0.25) / count
    return _by_blocks(rows, lambda block: trim_mean(block, share))


def multi_krum(rows: Rows, hostile: int, selected: int | None = None) -> Tensor:
    """The mean ``(D,)`` of the updates that lie closest to their neighbours; ``selected`` of them."""
    chosen = krum_choice(rows, hostile, selected)
    total = StreamingSum(rows[0].size)
    for index in chosen:
        total.add(torch.from_numpy(rows[index]))
    return total.mean(len(chosen))


def krum_choice(rows: Rows, hostile: int, selected: int | None = None) -> list[int]:
    """Which rows multi-Krum averages, ``len(rows) - hostile - 2`` of them unless told otherwise."""
    wanted = min(selected or max(1, len(rows) - hostile - 2), len(rows))
    # Flower's function would copy all rows several times and take distances in float32, where near ones
    # cancel. It gets points of as few dimensions as there are rows, with the same distances in float64.
    contents = [
        RecordDict({"point": ArrayRecord({"point": Array(point)})}) for point in _same_distances(rows)
    ]
    chosen = select_multikrum(contents, hostile, wanted)
    return sorted(next(index for index, content in enumerate(contents) if content is one) for one in chosen)


def _same_distances(rows: Rows) -> NDArray[np.float64]:
    """Points ``(n, n)`` that lie as far from one another as the rows ``(n, D)`` do."""
    gram = np.zeros((len(rows), len(rows)))
    for start in range(0, rows[0].size, _BLOCK):
        block = np.stack([row[start : start + _BLOCK] for row in rows]).astype(np.float64)
        # Without the centre, which distances do not see and rounding does.
        block -= block.mean(axis=0)
        gram += block @ block.T
    values, vectors = np.linalg.eigh(gram)
    points: NDArray[np.float64] = vectors * np.sqrt(np.maximum(values, 0.0))
    return points


def _by_blocks(rows: Rows, reduce: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Tensor:
    out = torch.empty(rows[0].size)
    for start in range(0, rows[0].size, _BLOCK):
        block = np.stack([row[start : start + _BLOCK] for row in rows]).astype(np.float64)
        out[start : start + _BLOCK] = torch.from_numpy(reduce(block))
    return out
