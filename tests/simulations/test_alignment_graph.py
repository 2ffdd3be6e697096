"""The chain of an utterance's states, and the likeliest path through it, held against all paths there are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from simulations.corpora.alignment_graph import (
    GAP_COST,
    SHORTEST_GAP,
    SHORTEST_PAUSE,
    STATES,
    Floats,
    Graph,
    best_durations,
    graph_of,
    made_slots,
)

WORDS = [("h", "ɛ"), (",",), ("j", "ˈu")]
UNMARKED = [("h", "ɛ"), ("j",)]


def noise(graph: Graph, frames: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(0, 3, (frames, len(graph.slot))).astype(np.float32)


def score(graph: Graph, likelihood: Floats, durations: tuple[int, ...]) -> float:
    """The best that these frames a slot can have: the boundary between a symbol's states is free."""
    total, start = 0.0, 0
    for slot, frames in enumerate(durations):
        states = np.flatnonzero(graph.slot == slot)
        if frames == 0:
            continue
        cuts = itertools.combinations(range(1, frames), len(states) - 1)
        part = likelihood[start : start + frames, states]
        total += max(
            sum(float(part[a:b, k].sum()) for k, (a, b) in enumerate(itertools.pairwise((0, *cut, frames))))
            for cut in cuts
        ) - GAP_COST * bool(graph.gap[slot])
        start += frames
    return total


def shortest(graph: Graph) -> list[int]:
    return [int((graph.slot == slot).sum()) for slot in range(len(graph.symbols))]


def optional(graph: Graph) -> list[bool]:
    last = len(graph.symbols) - 1
    return [
        0 < n < last and (bool(graph.gap[n]) or symbol in (",", "."))
        for n, symbol in enumerate(graph.symbols)
    ]


def allowed(graph: Graph, frames: int) -> list[tuple[int, ...]]:
    choices = [
        [d for d in range(frames + 1) if d >= least or (d == 0 and may_lack)]
        for least, may_lack in zip(shortest(graph), optional(graph), strict=True)
    ]
    return [d for d in itertools.product(*choices) if sum(d) == frames]


def test_slots_are_symbols_with_a_gap_between_words_that_have_no_pause() -> None:
    marked, unmarked = graph_of(WORDS), graph_of(UNMARKED)
    assert marked.symbols == ("sil", "h", "ɛ", ",", "j", "ˈu", "sil")
    assert not marked.gap.any()
    assert unmarked.symbols == ("sil", "h", "ɛ", "sil", "j", "sil")
    assert np.flatnonzero(unmarked.gap).tolist() == [3]
    assert shortest(marked) == [1, STATES, STATES, SHORTEST_PAUSE, STATES, STATES, 1]
    assert shortest(unmarked)[3] == SHORTEST_GAP
    assert graph_of([("h",), (), ("j",)]).symbols == graph_of([("h",), ("j",)]).symbols


@pytest.mark.parametrize("words", [UNMARKED, [("h",), (",",), ("j",)], [("h",), (",",), (".",)]])
@pytest.mark.parametrize("seed", range(4))
def test_the_path_found_is_the_best_of_all_that_are_allowed(words: list[tuple[str, ...]], seed: int) -> None:
    graph = graph_of(words)
    frames = 15
    likelihood = noise(graph, frames, seed)
    every = allowed(graph, frames)
    assert len(every) > 10
    best = max(every, key=lambda durations: score(graph, likelihood, durations))
    (found,) = best_durations([graph], [likelihood])
    assert found is not None
    assert tuple(found) in every
    assert score(graph, likelihood, tuple(found.tolist())) == pytest.approx(
        score(graph, likelihood, best), abs=1e-3
    )


def test_a_batch_gives_what_its_utterances_give_alone() -> None:
    graphs = [graph_of(WORDS), graph_of(UNMARKED), graph_of([("h",)])]
    likelihoods = [noise(graph, frames, frames) for graph, frames in zip(graphs, (40, 21, 9), strict=True)]
    together = best_durations(graphs, likelihoods)
    for graph, likelihood, found in zip(graphs, likelihoods, together, strict=True):
        (alone,) = best_durations([graph], [likelihood])
        assert found is not None
        assert alone is not None
        assert found.tolist() == alone.tolist()
        assert found.sum() == len(likelihood)


def test_an_utterance_too_short_for_its_text_has_no_path() -> None:
    graph = graph_of(UNMARKED)
    least = 2 + 3 * STATES
    assert best_durations([graph], [noise(graph, least - 1, 1)]) == [None]
    (found,) = best_durations([graph], [noise(graph, least, 1)])
    assert found is not None
    assert found.tolist() == [1, 2, 2, 0, 2, 1]


def test_gaps_that_nobody_makes_are_no_slots() -> None:
    graph = graph_of(UNMARKED)
    durations = np.array([3, 2, 4, 0, 5, 2])
    assert made_slots(graph, durations) == [("sil", 3), ("h", 2), ("ɛ", 4), ("j", 5), ("sil", 2)]
    durations[3] = 7
    assert made_slots(graph, durations)[3] == ("sil", 7)
    written = graph_of(WORDS)
    assert (",", 0) in made_slots(written, np.array([3, 2, 4, 0, 5, 2, 1]))
