"""The reference encoder: what it reads, and what it says of an empty reference."""

from __future__ import annotations

import torch
from synthetic_batches import reference_of

from shared_models.acoustic.dimensions import dimensions
from shared_models.config import ModelConfig
from shared_models.speakers.heard import MEL, Heard, Reference
from shared_models.speakers.sources.mel_style import MelStyleEncoder
from shared_models.speakers.sources.source import Contribution


def encoder_of_16() -> MelStyleEncoder:
    torch.manual_seed(0)
    return MelStyleEncoder(dimensions(ModelConfig(hidden=16))).eval()


def test_the_reference_encoder_reads_its_own_frames_and_nothing_else() -> None:
    encoder = encoder_of_16()
    short, long = reference_of(20, 1), reference_of(35, 2)
    padded = torch.zeros(2, 35, 80)
    padded[0, :20], padded[1] = short, long
    padded[0, 20:] = 50.0
    together = encoder.style(padded, torch.tensor([20, 35]))
    torch.testing.assert_close(
        together[:1], encoder.style(short[None], torch.tensor([20])), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        together[1:], encoder.style(long[None], torch.tensor([35])), rtol=1e-5, atol=1e-5
    )
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_an_empty_reference_is_the_voice_of_nobody() -> None:
    encoder = encoder_of_16()
    whole = Reference({MEL: reference_of(30, 1)})
    said = encoder(Heard.of([whole, whole.excerpt(0, 0)]))
    assert said.embedding[0].any()
    assert not said.embedding[1].any()


def test_several_recordings_of_a_speaker_are_their_mean() -> None:
    encoder = encoder_of_16()
    each = Contribution(torch.randn(3, 16), penalty=torch.ones(3))
    pooled = encoder.pool(each)
    torch.testing.assert_close(pooled.embedding, each.embedding.mean(0)[None])
    assert pooled.penalty is None
