"""A person's prosody is measured: what is predicted of their recordings has their totals, means and spreads."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from synthetic_batches import random_features, shake, small_model, voice_of_row

from client.learning.measured_prosody import WIDEST, with_measured_prosody
from shared_models.acoustic.fastspeech2 import target_variances
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.audio.normalisation import BOUND, normalise_pitch
from shared_models.config import AlignerConfig
from shared_models.features import Features, collate
from shared_models.layers.sequences import Excerpt, valid_steps
from shared_models.speakers.voice import Voice

SUPPORT = [random_features(9, 60, 1), random_features(5, 41, 2), random_features(12, 33, 3)]
UNALIGNED = [replace(features, durations=None) for features in SUPPORT]


def shaken_model(source: str = "none", **sizes: object) -> VoiceModel:
    model = small_model(source=source, durations="mean", **sizes).eval()
    shake(model, 0.1)
    return model


def predictions(model: VoiceModel, voice: Voice, features: Features) -> tuple[torch.Tensor, ...]:
    """Frames, pitch and energy that are predicted for one utterance, and its actual pitch and energy."""
    batch = collate([features], None)
    mask = valid_steps(batch.phoneme_lengths, batch.phonemes.shape[1])
    actual = target_variances(batch, batch.durations)
    encoded = model.acoustic.encode(batch.phonemes, mask, voice)
    _, predicted = model.acoustic.variance_adaptor(encoded, mask, voice, actual.pitch, actual.energy)
    frames = predicted.log_duration[0].exp() - 1
    return frames, predicted.pitch[0], predicted.energy[0], actual.pitch[0], actual.energy[0]


def voiced_frames(features: Features) -> torch.Tensor:
    """Of each phoneme, counted one by one."""
    assert features.durations is not None
    runs = features.voiced.split(features.durations.tolist())
    return torch.tensor([float(run.sum()) for run in runs])


def spread(values: list[torch.Tensor], weights: list[torch.Tensor]) -> float:
    total = sum((w * (v - (w * v).sum() / w.sum()) ** 2).sum() for v, w in zip(values, weights, strict=True))
    return math.sqrt(float(total) / float(sum(w.sum() for w in weights)))


@pytest.mark.parametrize("pitch_spread", [1.0, 1.6])
@torch.no_grad()
def test_totals_means_and_spreads_are_those_of_the_recordings(pitch_spread: float) -> None:
    model = shaken_model(pitch_spread=pitch_spread)
    before = voice_of_row(model)
    # Apart from the recordings in ways that the closed form must undo.
    before = Voice({**before.tensors, "prosody": torch.tensor([[0.4, -0.2, 0.3, -0.5]])})
    voice = with_measured_prosody(model, before, SUPPORT)
    said = [predictions(model, voice, features) for features in SUPPORT]
    weights = [voiced_frames(features) for features in SUPPORT]
    assert float(sum(frames.sum() for frames, *_ in said)) == pytest.approx(60 + 41 + 33, rel=1e-4)
    mean = sum(float((w * pitch).sum()) for (_, pitch, *_), w in zip(said, weights, strict=True))
    actual = sum(float((w * pitch).sum()) for (*_, pitch, _), w in zip(said, weights, strict=True))
    assert mean == pytest.approx(actual, abs=1e-2)
    wanted = spread([pitch for *_, pitch, _ in said], weights)
    found = pitch_spread * spread([pitch for _, pitch, *_ in said], weights)
    change = float(voice["prosody"][0, 1] - before["prosody"][0, 1])
    assert found == pytest.approx(wanted, rel=1e-3) or abs(change) == pytest.approx(WIDEST)
    louder = [float((f.durations * (s[4] - s[2])).sum()) for f, s in zip(SUPPORT, said, strict=True)]
    assert sum(louder) == pytest.approx(0, abs=1e-2)
    assert all(torch.equal(voice[name], before[name]) for name in before if name != "prosody")


@pytest.mark.parametrize("pitch_spread", [1.0, 1.6])
@torch.no_grad()
def test_with_a_source_the_spread_is_that_of_voiced_frames(pitch_spread: float) -> None:
    """Each utterance alone, so that no padding counts."""
    model = shaken_model("harmonics", pitch_spread=pitch_spread)
    before = voice_of_row(model)
    actual, said, voiced, sounding = [], [], [], []
    for features in SUPPORT:
        batch = collate([features], None)
        assert batch.durations is not None
        encoded = model.acoustic.encode(batch.phonemes, batch.phonemes >= 0, before)
        enriched, _ = model.acoustic.variance_adaptor(
            encoded, batch.phonemes >= 0, before, pitch_spread=pitch_spread
        )
        whole = Excerpt.whole(batch.mel_lengths, batch.mel.shape[1])
        contours = model.acoustic.decode(enriched, batch.durations, whole, before).contours
        assert contours is not None
        said.append(contours.pitch[0].clamp(-BOUND, BOUND))
        sounding.append((contours.voicing[0] > 0).float())
        actual.append(normalise_pitch(features.log_f0))
        voiced.append(features.voiced.float())
    wanted = math.log(spread(actual, voiced) / spread(said, sounding))
    change = with_measured_prosody(model, before, SUPPORT)["prosody"][0, 1] - before["prosody"][0, 1]
    assert float(change) == pytest.approx(max(-WIDEST, min(WIDEST, wanted)), abs=1e-4)


def test_without_anything_that_tells_durations_the_voice_stays_as_it_is() -> None:
    model = small_model(aligner=AlignerConfig(learn="never"))
    voice = voice_of_row(model)
    assert with_measured_prosody(model, voice, UNALIGNED) is voice


def test_an_aligner_tells_the_durations_of_recordings_without_any() -> None:
    model = small_model(aligner=AlignerConfig(learn="auto"))
    voice = voice_of_row(model)
    assert not torch.equal(with_measured_prosody(model, voice, UNALIGNED)["prosody"], voice["prosody"])
