"""Re-estimation of monophones on a corpus whose alignment is known, because it was made from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from shared_models.features import Features
from simulations.corpora.alignment_graph import Graph, Whole, graph_of
from simulations.corpora.monophones import (
    Mixtures,
    align_corpus,
    cepstra,
    fitted,
    frame_classes,
    normalised_by_speaker,
)

SOUNDS = ("h", "ɛ", "j", "ˈu", "s", "m", "ˈoʊ", "t")


def spectra() -> dict[str, Tensor]:
    """A mel for each sound: smooth, as spectra are, and all different."""
    g = torch.Generator().manual_seed(1)
    bands = torch.arange(80) / 80
    found = {}
    for sound in ("sil", *SOUNDS):
        amounts = torch.randn(8, generator=g)
        found[sound] = sum(a * torch.cos(math.pi * k * bands) for k, a in enumerate(amounts, start=1)) - 5
    return found


def corpus(utterances: int) -> tuple[dict[str, Graph], dict[str, Features], dict[str, Whole]]:
    """Random words, some with pauses between them that no text tells of, in two voices."""
    rng, mels = np.random.default_rng(2), spectra()
    graphs, features, truth = {}, {}, {}
    for number in range(utterances):
        words = [tuple(rng.choice(SOUNDS, rng.integers(2, 4))) for _ in range(4)]
        graph = graph_of(words)
        durations = rng.integers(3, 12, len(graph.symbols))
        durations[graph.gap] = rng.choice([0, 0, 15], int(graph.gap.sum()))
        means = torch.cat(
            [mels[s][None].expand(int(d), -1) for s, d in zip(graph.symbols, durations, strict=True)]
        )
        noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(number))
        mel = means * (1 + 0.3 * (number % 2)) + 0.5 * noise
        name = f"u{number}"
        graphs[name], truth[name] = graph, durations
        frames = len(mel)
        features[name] = Features(
            name, torch.zeros(1), mel, torch.zeros(frames), torch.ones(frames), torch.zeros(frames)
        )
    return graphs, features, truth


def evenly(graph: Graph, frames: int) -> Whole:
    durations = np.zeros(len(graph.symbols), dtype=np.int64)
    edges = np.linspace(0, frames, int((~graph.gap).sum()) + 1).round().astype(np.int64)
    durations[~graph.gap] = np.diff(edges)
    return durations


def test_boundaries_and_pauses_are_found_from_an_even_start() -> None:
    graphs, features, truth = corpus(60)
    heard = normalised_by_speaker(features, {name: str(int(name[1:]) % 2) for name in features})
    first = {name: evenly(graph, len(features[name].mel)) for name, graph in graphs.items()}
    learn_from = list(graphs)[:50]
    found = align_corpus(graphs, heard, first, learn_from)
    assert found.keys() == graphs.keys(), "those not learnt from are aligned as well"
    errors = np.concatenate([np.abs(found[n].cumsum() - truth[n].cumsum()) for n in graphs])
    before = np.concatenate([np.abs(first[n].cumsum() - truth[n].cumsum()) for n in graphs])
    assert errors.mean() < 0.5 < before.mean()
    made = np.concatenate([found[n][graphs[n].gap] > 0 for n in graphs])
    true = np.concatenate([truth[n][graphs[n].gap] > 0 for n in graphs])
    assert (made == true).mean() > 0.98


def test_densities_are_those_of_gaussians() -> None:
    g = torch.Generator().manual_seed(3)
    mixtures = Mixtures(
        torch.tensor([[0.3, 0.7]]),
        torch.randn(1, 2, 26, generator=g),
        torch.rand(1, 2, 26, generator=g) + 0.5,
    )
    x = torch.randn(5, 26, generator=g)
    normal = torch.distributions.Normal(mixtures.mean[0], mixtures.variance[0].sqrt())
    expected = normal.log_prob(x[:, None]).sum(2) + mixtures.weight[0].log()
    torch.testing.assert_close(mixtures.components(x)[:, 0], expected, rtol=1e-4, atol=1e-4)
    assert mixtures.split().mean.shape == (1, 4, 26)
    assert mixtures.split().weight.sum().item() == pytest.approx(1)


def test_one_component_is_fitted_to_the_mean_of_its_frames() -> None:
    graphs, features, truth = corpus(20)
    heard = normalised_by_speaker(features, dict.fromkeys(features, "one"))
    mixtures = fitted(None, 1, graphs, heard, truth)
    classes = np.concatenate([frame_classes(graphs[n], truth[n]) for n in graphs])
    frames = torch.cat([heard[n] for n in graphs])
    chosen = int(np.bincount(classes).argmax())
    expected = frames[torch.from_numpy(classes == chosen)]
    # Two frames' worth of "nothing is known" pull the mean a little towards 0.
    torch.testing.assert_close(
        mixtures.mean[chosen, 0], expected.sum(0) / (len(expected) + 2), rtol=1e-3, atol=1e-4
    )


def test_cepstra_are_the_cosine_transform_and_slopes_are_zero_where_nothing_changes() -> None:
    bands = (torch.arange(80) + 0.5) / 80
    mel = torch.cos(3 * math.pi * bands).expand(6, -1)
    found = cepstra(mel)
    assert found.shape == (6, 26)
    assert found[0, 3].item() == pytest.approx(math.sqrt(40), rel=1e-4)
    assert found[0, [1, 2, 4, 5]].abs().max() < 1e-4
    assert (found[:, 13:] == 0).all()
    rising = cepstra(mel * torch.arange(6)[:, None])
    assert rising[3, 16].item() == pytest.approx(10 * math.sqrt(40), rel=1e-4), (
        "1 * 2 + 2 * 4 times the slope"
    )


def test_a_speaker_s_cepstra_have_mean_0_and_deviation_1() -> None:
    _, features, _ = corpus(10)
    heard = normalised_by_speaker(features, {name: str(int(name[1:]) % 2) for name in features})
    for voice in (0, 1):
        own = torch.cat([x for name, x in heard.items() if int(name[1:]) % 2 == voice])
        assert own.mean(0).abs().max() < 1e-4
        torch.testing.assert_close(own.std(0), torch.ones(26), rtol=1e-3, atol=1e-3)
