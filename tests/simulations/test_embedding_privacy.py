"""Likeness against epsilon: what is measured is what the noise's size says, and no recording serves two purposes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tiny_federation import small_corpus
from typer.testing import CliRunner

from client.embed import Hearing
from client.embedding_release import EmbeddingTerms
from shared_models.audio.reading import Wave
from shared_models.errors import CorpusError, RecipeError
from shared_models.speakers.encoders.encoder import build_encoder
from shared_models.speakers.encoders.encoder_file import save_encoder
from simulations import cli
from simulations.benchmarks.embedding_privacy import hear_people, measure

WIDTH = 64


def people(count: int, recordings: int, spread: float = 0.0) -> dict[str, torch.Tensor]:
    """Unit vectors: each person's own direction, a little astray in each recording."""
    rng = torch.Generator().manual_seed(3)
    found = {}
    for number in range(count):
        own = torch.nn.functional.one_hot(torch.tensor(number), WIDTH).float()
        astray = own + spread * torch.randn(recordings, WIDTH, generator=rng)
        found[f"p{number}"] = torch.nn.functional.normalize(astray, dim=1)
    return found


def test_likeness_is_what_the_size_of_the_noise_says() -> None:
    found = measure(people(4, 30), 1.0, [5, 20], [1.0, 8.0], others=3, draws=200)
    assert {(p.utterances, p.epsilon) for p in found.points} == {
        (n, e) for n in (5, 20) for e in (None, 1.0, 8.0)
    }
    for point in found.points:
        if point.epsilon is None:
            assert point.likeness.mean == pytest.approx(1)
            continue
        noise = EmbeddingTerms(point.epsilon, 1e-5).deviation(point.utterances)
        # The noise's norm is about sqrt(E) times its deviation, and it is at right angles to the voice.
        assert point.likeness.mean == pytest.approx(1 / math.sqrt(1 + WIDTH * noise**2), abs=0.03)
    assert found.strangers.mean == pytest.approx(0)


def test_more_recordings_and_more_epsilon_keep_more() -> None:
    found = measure(people(6, 40, 0.05), 1.0, [5, 30], [0.5, 4.0, 32.0], others=3, draws=50)
    curves = {
        n: [p.likeness.mean for p in found.points if p.utterances == n and p.epsilon is not None]
        for n in (5, 30)
    }
    for curve in curves.values():
        assert curve == sorted(curve)
    assert all(few < many for few, many in zip(curves[5], curves[30], strict=True))
    identified = {(p.utterances, p.epsilon): p.identified.mean for p in found.points}
    assert identified[30, 32.0] == identified[30, None] == 1
    assert identified[5, 0.5] < 0.6


def test_a_person_with_too_few_recordings_is_not_in_that_curve() -> None:
    heard = people(3, 23)
    heard["p0"] = heard["p0"][:9]
    found = measure(heard, 1.0, [5, 20, 100], [4.0], others=3, draws=2)
    assert {p.utterances: p.likeness.count for p in found.points} == {5: 3, 20: 2}
    assert found.people == 3


def test_a_release_is_compared_with_other_recordings() -> None:
    axes = torch.eye(4)
    heard = {"a": axes[[0] * 5 + [1]], "b": axes[[2] * 5 + [3]]}
    found = measure(heard, 1.0, [5], [], others=1)
    assert found.points[0].likeness.mean == 0


def test_those_with_most_recordings_are_heard_and_each_recording_once(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path / "speech", train=3, utterances=6)
    for place, folder in enumerate(sorted(p for p in corpus.iterdir() if p.is_dir())):
        # The second has them all.
        for recording in sorted(folder.glob("*.ogg"))[: {0: 2, 1: 0, 2: 3}[place]]:
            recording.unlink()
    lengths: list[int] = []

    def hear(wave: Wave) -> torch.Tensor:
        lengths.append(len(wave))
        return torch.ones(4)

    heard, left_out = hear_people(str(corpus), Hearing("x", "hash", 1.0, hear), [2, 5], others=1, speakers=2)
    assert sorted(len(v) for v in heard.values()) == [3, 6]
    assert left_out == []
    assert len(lengths) == 9
    with pytest.raises(CorpusError, match="ask for fewer"):
        hear_people(str(corpus), Hearing("x", "hash", 1.0, hear), [50], others=1)


def test_the_command_prints_the_curves_and_draws_them(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path / "speech", train=2, utterances=4)
    weights, figure = tmp_path / "x.safetensors", tmp_path / "curves.png"
    torch.manual_seed(0)
    save_encoder(weights, "x_vector", build_encoder("x_vector", channels=8, aggregated=12, width=16))
    arguments = [
        "bench", "embeddings", "--corpus", str(corpus), "--encoder", "x_vector", "--weights", str(weights),
        "--utterances", "2,3", "--others", "1", "--epsilons", "4,8", "--draws", "2", "--figure", str(figure), "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(p["utterances"], p["epsilon"]) for p in found["points"]] == [
        (n, e) for n in (2, 3) for e in (None, 4, 8)
    ]
    assert figure.read_bytes().startswith(b"\x89PNG")
    wrong = CliRunner().invoke(cli.app, ["bench", "embeddings", "--epsilons", "1,nan"])
    assert isinstance(wrong.exception, RecipeError)
