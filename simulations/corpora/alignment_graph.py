"""Every way in which an utterance may be said, as a chain of states, and the likeliest of them for a recording.

A sounding symbol is two states, so that it lasts at least two frames. A written pause may be left out, and so may a
pause between any two words, which no transcript tells of; a pause that is made lasts a while, lest the closure of a
stop is taken for one. Silence at both ends is always there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_models.text.symbols import SILENCE, SILENT

STATES = 2
"""Of a sounding symbol."""
SHORTEST_PAUSE = 4
"""Frames (46 ms) of a written pause that is made at all."""
SHORTEST_GAP = 6
"""Frames (70 ms) of a pause between words that the text says nothing of."""
GAP_COST = 4.0
"""Log-likelihood that such a pause must gain."""
_IMPOSSIBLE = -1e30

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Graph:
    """A chain of S states over the N slots of an utterance: its symbols, and a gap between words."""

    symbols: tuple[str, ...]
    """Of each slot ``(N,)``; a gap is a silence."""
    gap: NDArray[np.bool_]
    """``(N,)``: the slots that are no symbol of the text."""
    slot: Whole
    """``(S,)``: whose state it is."""
    state: Whole
    """``(S,)``: the first or second half of its symbol."""
    leap: Whole
    """``(S,)``: a state that may be followed by this one although others lie between; the one before if none."""
    cost: Floats
    """``(S,)``: log-likelihood that it costs to enter the state."""


def graph_of(words: Sequence[Sequence[str]]) -> Graph:
    """The graph of ``words``, a pause being a word of its own, with silence at both ends."""
    symbols, gap = _slots(words)
    slot: list[int] = []
    state: list[int] = []
    leap: list[int] = []
    cost: list[float] = []
    before_pause: int | None = None
    for number, (symbol, is_gap) in enumerate(zip(symbols, gap, strict=True)):
        edge = number in (0, len(symbols) - 1)
        optional = symbol in SILENT and not edge
        count = 1 if edge else SHORTEST_GAP if is_gap else SHORTEST_PAUSE if optional else STATES
        last = len(slot) - 1
        for index in range(count):
            entered = index == 0
            slot.append(number)
            state.append(0 if symbol in SILENT else index)
            leap.append(before_pause if entered and before_pause is not None else len(slot) - 2)
            cost.append(GAP_COST if entered and is_gap else 0.0)
        before_pause = (last if before_pause is None else before_pause) if optional else None
    return Graph(
        tuple(symbols), np.array(gap), np.array(slot), np.array(state), np.array(leap),
        np.array(cost, dtype=np.float32),
    )  # fmt: skip


def made_slots(graph: Graph, durations: Whole) -> list[tuple[str, int]]:
    """Symbols and frames of ``durations (N,)``, without the gaps between words in which nobody pauses."""
    slots = zip(graph.symbols, durations.tolist(), graph.gap.tolist(), strict=True)
    return [(symbol, frames) for symbol, frames, gap in slots if frames or not gap]


def best_durations(graphs: Sequence[Graph], likelihoods: Sequence[Floats]) -> list[Whole | None]:
    """Frames of each slot ``(N,)`` on the likeliest path; None for an utterance too short to have one.

    ``likelihoods`` are the log-likelihoods ``(T, S)`` of each utterance's frames in each of its states.
    """
    batch, states = len(graphs), max(len(graph.slot) for graph in graphs)
    frames = [len(found) for found in likelihoods]
    emitted = np.full((max(frames), batch, states), _IMPOSSIBLE, dtype=np.float32)
    leap = np.tile(np.arange(-1, states - 1), (batch, 1))
    cost = np.zeros((batch, states), dtype=np.float32)
    for row, (graph, found) in enumerate(zip(graphs, likelihoods, strict=True)):
        emitted[: len(found), row, : len(graph.slot)] = found
        leap[row, : len(graph.slot)], cost[row, : len(graph.slot)] = graph.leap, graph.cost
    back = _search(emitted, leap.clip(0), cost)
    return [_traced(graph, back[:, row], leap[row], frames[row]) for row, graph in enumerate(graphs)]


def _search(emitted: Floats, leap: Whole, cost: Floats) -> NDArray[np.int8]:
    """By which way each state was reached ``(T, B, S)``: 0 stay, 1 from the state before, 2 by a leap."""
    _, batch, states = emitted.shape
    total = np.full((batch, states), _IMPOSSIBLE, dtype=np.float32)
    total[:, 0] = emitted[0, :, 0]
    back = np.zeros(emitted.shape, dtype=np.int8)
    rows = np.arange(batch)[:, None]
    before = np.full_like(total, _IMPOSSIBLE)
    for t in range(1, len(emitted)):
        before[:, 1:] = total[:, :-1]
        stepped = before - cost
        leapt = total[rows, leap] - cost
        leapt[:, 0] = _IMPOSSIBLE
        back[t] = stepped > total
        best = np.maximum(total, stepped)
        back[t][leapt > best] = 2
        total = np.maximum(best, leapt) + emitted[t]
    return back


def _traced(graph: Graph, back: NDArray[np.int8], leap: Whole, frames: int) -> Whole | None:
    """The path ``(T,)`` from the last frame in the last state, as frames a slot."""
    durations = np.zeros(len(graph.symbols), dtype=np.int64)
    state = len(graph.slot) - 1
    for t in range(frames - 1, -1, -1):
        durations[graph.slot[state]] += 1
        if t == 0:
            break
        way = back[t, state]
        state -= int(way == 1)
        if way == 2:
            state = int(leap[state])
    return durations if state == 0 else None


def _slots(words: Sequence[Sequence[str]]) -> tuple[list[str], list[bool]]:
    symbols, gap = [SILENCE], [False]
    for word in words:
        if not word:
            continue
        if symbols[-1] not in SILENT and word[0] not in SILENT:
            symbols.append(SILENCE)
            gap.append(True)
        symbols += word
        gap += [False] * len(word)
    return [*symbols, SILENCE], [*gap, False]
