"""The draws themselves: Gaussian, each on its own, and in a live run made of the operating system's bytes alone.

Draws from the operating system are judged where independent ones fail once in 10^9 runs (``independence.py``).
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from independence import FALSE_ALARM, most_correlated, most_repetitive, threshold
from scipy import stats
from torch import Tensor

from shared_models import noise
from shared_models.noise import standard_normal, uniform
from shared_models.seeds import generator

SIZE = 1 << 18
SOURCES = pytest.mark.parametrize("seed", [3, None], ids=["simulation", "operating system"])
Draw = Callable[[int, torch.Generator | None], Tensor]
DRAWS = pytest.mark.parametrize("draw", [standard_normal, uniform])


def drawn(draw: Draw, size: int, seed: int | None) -> Tensor:
    return draw(size, None if seed is None else generator(seed, "noise"))


@SOURCES
def test_the_draws_are_standard_normal(seed: int | None) -> None:
    draws = drawn(standard_normal, SIZE, seed)
    assert draws.dtype == torch.float64
    assert stats.kstest(draws.numpy(), "norm").pvalue > FALSE_ALARM
    assert abs(float(draws.mean())) < threshold() / math.sqrt(SIZE)
    assert abs(float(draws.var()) - 1) < threshold() * math.sqrt(2 / SIZE)
    for beyond in (3.0, 4.0, -3.0, -4.0):
        found = int(((draws > beyond) if beyond > 0 else (draws < beyond)).sum())
        assert stats.binomtest(found, SIZE, float(stats.norm.sf(abs(beyond)))).pvalue > FALSE_ALARM
    assert len(draws.unique()) > SIZE - 3, "of 2**53 values hardly any comes twice"


@SOURCES
def test_the_coins_are_uniform(seed: int | None) -> None:
    coins = drawn(uniform, SIZE, seed)
    assert 0 <= float(coins.min()) <= float(coins.max()) < 1
    assert stats.kstest(coins.numpy(), "uniform").pvalue > FALSE_ALARM
    assert len(coins.unique()) > SIZE - 3


@SOURCES
@DRAWS
def test_no_draw_tells_of_another(draw: Draw, seed: int | None) -> None:
    draws = drawn(draw, SIZE, seed)
    assert most_repetitive(draws) < 1
    for parts in (2, 3, 8):  # halves are what Box-Muller makes of one radius and one angle
        cut = draws[: len(draws) // parts * parts]
        assert most_correlated(cut.view(parts, -1)) < 1
        assert most_correlated(cut.view(-1, parts).T.contiguous()) < 1, "neighbours"


@DRAWS
def test_the_operating_systems_draws_never_repeat(draw: Draw) -> None:
    several = torch.stack([draw(4096, None) for _ in range(40)])
    assert len(several.unique()) > several.numel() - 3
    assert most_correlated(several) < 1


@DRAWS
def test_seeds_of_the_process_are_of_no_consequence(draw: Draw) -> None:
    found = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            torch.manual_seed(5)
            np.random.seed(5)
            random.seed(5)
            found.append(draw(1000, None))
    assert not torch.isclose(*found, rtol=0, atol=1e-13).any()


@DRAWS
def test_a_forked_process_draws_its_own(draw: Draw) -> None:
    """Devices of one computer, and workers of an engine, are often copies of one process."""
    draw(10, None)
    found = [draw(100, None)]
    for _ in range(2):
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writing, draw(100, None).numpy().tobytes())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            found.append(torch.from_numpy(np.frombuffer(pipe.read()).copy()))
    assert len(torch.cat(found).unique()) == 300


@DRAWS
def test_the_draws_are_made_of_the_operating_systems_bytes_alone(
    draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def scripted(seed: int) -> Callable[[int], bytes]:
        stream = np.random.default_rng(seed)

        def urandom(count: int) -> bytes:
            asked.append(count)
            return stream.bytes(count)

        return urandom

    found = []
    for seed in (1, 1, 2):
        monkeypatch.setattr(noise.os, "urandom", scripted(seed))
        found.append(draw(999, None))
    assert torch.equal(found[0], found[1]), "something else went in"
    assert not torch.isclose(found[0], found[2], rtol=0, atol=1e-13).any(), "some draws need no byte"
    assert sum(asked) >= 3 * 8 * 999, "fewer bytes than a draw has bits"


@SOURCES
@DRAWS
@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_as_many_are_drawn_as_were_asked_for(draw: Draw, seed: int | None, size: int) -> None:
    draws = drawn(draw, size, seed)
    assert draws.shape == (size,)
    assert bool(draws.isfinite().all())
