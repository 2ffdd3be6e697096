"""One function over many pieces of work, in order: here, or in processes of one thread each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

Mapping = Callable[[Callable[[Any], Any], Any], Iterator[Any]]
"""As the built-in map: a function and its arguments, to what it gives, in their order."""


@contextmanager
def in_processes(workers: int) -> Iterator[Mapping]:
    """Something like map: in this process for one worker, else in so many."""
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        yield pool.map


def _one_thread() -> None:
    torch.set_num_threads(1)
