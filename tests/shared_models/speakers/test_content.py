"""Content kept out of voices: what the adversary reads, what the sources hear of it, and that next to none is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_federation import random_speech, tiny_recipe
from torch import nn

from shared_models.acoustic import build_model
from shared_models.features import collate
from shared_models.losses import acoustic_loss
from shared_models.partition import Owner, PartitionedModel
from shared_models.speakers.content import (
    PHONEMES,
    ContentAdversary,
    shares_of,
    spoken_phonemes,
)
from shared_models.speakers.heard import Reference
from shared_models.text.symbols import VOCABULARY_SIZE
from simulations.benchmarks.leakage import explained
from simulations.centralised import _rows
from simulations.mixed_batch import mixed_batch


def test_shares_count_the_frames_that_are_known() -> None:
    found = shares_of(torch.tensor([[3, 3, 5, 0], [0, 0, 0, 0]]), 6)
    torch.testing.assert_close(found, torch.tensor([[0, 0, 0, 2 / 3, 0, 1 / 3], [0.0] * 6]))


def test_the_phoneme_of_each_frame_is_the_alignments() -> None:
    one = random_speech(1)[0]
    said = spoken_phonemes(one)[:, 0].long()
    assert one.durations is not None
    expected = [
        p for p, d in zip(one.phonemes.tolist(), one.durations.tolist(), strict=True) for _ in range(d)
    ]
    assert said.tolist() == expected
    assert len(said) == len(one.mel)
    assert not spoken_phonemes(replace(one, durations=None)).any()


def test_the_adversary_reads_by_cross_entropy_and_the_sources_hear_of_the_confusion_alone() -> None:
    adversary = ContentAdversary(8, 6)
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in (adversary.leave, adversary.bias, adversary.usual):
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    phonemes = torch.tensor([[1, 2, 2], [0, 0, 0]])
    embedding = torch.randn(2, 8, generator=rng, requires_grad=True)
    lost = adversary(embedding, phonemes)
    plain = embedding.detach().clone().requires_grad_()
    said = F.log_softmax(torch.relu(plain @ adversary.enter.T) @ adversary.leave.T + adversary.bias, dim=1)[0]
    usual = F.log_softmax(adversary.usual, dim=0)
    reading = -(said[1] + 2 * said[2]) / 3 - (usual[1] + 2 * usual[2]) / 3
    confusion = F.kl_div(said, usual, log_target=True, reduction="sum")
    torch.testing.assert_close(lost, torch.stack([reading + confusion, torch.tensor(0.0)]))
    own = list(adversary.parameters())
    found = torch.autograd.grad(lost.sum(), [embedding, *own])
    torch.testing.assert_close(found[0], torch.autograd.grad(confusion, plain, retain_graph=True)[0])
    for gradient, expected in zip(found[1:], torch.autograd.grad(reading, own), strict=True):
        torch.testing.assert_close(gradient, expected)
    assert all(bool(gradient.any()) for gradient in found)


def test_it_exists_where_several_speakers_train_and_changes_nothing_else() -> None:
    recipe = tiny_recipe(speaker__sources=["mel_style"], speaker__reference_dropout=0.0)
    weighed = recipe.override({"speaker.content_confusion": 0.5})
    alone, several = build_model(weighed), build_model(weighed, voices=3)
    assert alone.content is None
    assert several.content is not None
    shared = [PartitionedModel(m).shared_vector() for m in (build_model(recipe), alone, several)]
    assert torch.equal(shared[0], shared[1])
    assert torch.equal(shared[0], shared[2])
    partitioned = PartitionedModel(several)
    assert "content.leave" in partitioned.partition.names(Owner.PERSONAL)
    assert all(any(p is row for row in _rows(partitioned)) for p in several.content.parameters())
    speakers = [random_speech(3, seed=number) for number in range(3)]
    batch = mixed_batch(speakers, weighed, torch.Generator().manual_seed(1), with_voices=True)
    assert PHONEMES in batch.heard.signals
    assert (
        PHONEMES
        not in mixed_batch(speakers, recipe, torch.Generator().manual_seed(1), with_voices=True).heard.signals
    )
    several.eval()
    with torch.no_grad():
        lost = acoustic_loss(several(batch, window=32, generator=torch.Generator()), batch).penalty
    assert lost is not None
    assert lost.item() == pytest.approx(0.5 * 2 * np.log(VOCABULARY_SIZE), rel=1e-5)
    with torch.no_grad():
        one = random_speech(1)[0]
        bare = collate([one], [Reference({"mel": one.mel})], [0])
        assert acoustic_loss(several(bare), bare).penalty is None


def leak_after(weight: float) -> tuple[float, float]:
    """What of the content is left in an embedding that learns to tell speakers apart, and how well it does."""
    rng = torch.Generator().manual_seed(0)
    voices = torch.randn(4, 3, generator=rng)
    torch.manual_seed(0)
    encoder, classifier, adversary = nn.Linear(9, 6), nn.Linear(6, 4), ContentAdversary(6, 6)
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *classifier.parameters(), *adversary.parameters()], lr=0.02
    )

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        whose = torch.randint(4, (count,), generator=rng)
        phonemes = torch.randint(1, 6, (count, 4), generator=rng)
        said = encoder(torch.cat([voices[whose], 4 * shares_of(phonemes, 6)], 1))
        return said + 0.3 * torch.randn(said.shape, generator=rng), whose, phonemes

    for _ in range(300):
        embedding, whose, phonemes = drawn(64)
        lost = F.cross_entropy(classifier(embedding), whose) + weight * adversary(embedding, phonemes).mean()
        optimizer.zero_grad()
        lost.backward()
        optimizer.step()
    with torch.no_grad():
        embedding, whose, phonemes = drawn(300)
        right = float((classifier(embedding).argmax(1) == whose).float().mean())
    content = shares_of(phonemes, 6).double().numpy()
    return explained(embedding.double().numpy(), content, whose.numpy(), np.arange(300)).mean, right


def test_next_to_no_content_is_left_and_speakers_are_told_apart_all_the_same() -> None:
    leaked, told = leak_after(0.0)
    kept_out, still_told = leak_after(1.0)
    assert leaked > 0.15
    assert kept_out < 0.3 * leaked
    assert min(told, still_told) > 0.95
