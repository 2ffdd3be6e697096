"""The losses: what they are the mean of, and that utterances do not meet in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from synthetic_batches import batch_of, random_features, shake, small_model
from torch import Tensor

from shared_models.config import AlignerConfig
from shared_models.errors import RecipeError
from shared_models.features import Features
from shared_models.losses import acoustic_loss, alignment_loss, gamma_deviance

ITEMS = [random_features(9, 60, 1), random_features(5, 41, 2), random_features(12, 33, 3)]


def test_they_are_means_within_each_utterance() -> None:
    model = small_model().eval()
    shake(model)
    batch = batch_of(ITEMS)
    output = model(batch)
    losses = acoustic_loss(output, batch, per_utterance=True)
    for row, item in enumerate(ITEMS):
        frames, length = len(item.mel), len(item.phonemes)
        assert item.durations is not None
        mel = (output.mel[row, :frames].double() - item.mel.double()).abs().mean()
        wanted = torch.log(item.durations.double() + 1)
        duration = (output.predicted.log_duration[row, :length].double() - wanted).square().mean()
        assert losses.mel[row].item() == pytest.approx(mel.item(), rel=1e-5)
        assert losses.duration[row].item() == pytest.approx(duration.item(), rel=1e-5)
        start, pitches = 0, []
        for d in item.durations.tolist():
            weight = item.voiced[start : start + d].double().clamp_min(1e-3)
            pitch = (item.log_f0[start : start + d].double() - 5.075173815) / 0.4
            pitches.append((weight * pitch).sum() / weight.sum())
            start += d
        expected = (output.predicted.pitch[row, :length].double() - torch.stack(pitches)).square().mean()
        assert losses.pitch[row].item() == pytest.approx(expected.item(), rel=1e-4)
    parts = losses.mel + losses.duration + losses.pitch + losses.energy
    torch.testing.assert_close(losses.total, parts)
    mean = acoustic_loss(output, batch)
    assert mean.total.item() == pytest.approx(losses.total.mean().item())
    assert mean.forward_sum is None
    assert set(mean.items()) == {"total", "mel", "duration", "pitch", "energy"}


@pytest.mark.parametrize("learn", ["auto", "always"])
def test_an_utterance_s_loss_does_not_depend_on_the_others(learn: str) -> None:
    model = small_model("large", aligner=AlignerConfig(learn=learn)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        batch = batch_of(ITEMS)
        together = acoustic_loss(model(batch), batch, per_utterance=True).total
        for row, item in enumerate(ITEMS):
            other = batch_of([random_features(14, 80, 8), item])
            alone = acoustic_loss(model(other), other, per_utterance=True).total[1]
            assert alone.item() == pytest.approx(together[row].item(), rel=1e-5)


MIXED = [ITEMS[0], replace(ITEMS[1], durations=None), ITEMS[2]]


def test_an_alignment_that_one_utterance_lacks_takes_no_others_away() -> None:
    model = small_model("large", aligner=AlignerConfig(learn="auto")).eval()
    shake(model)
    with torch.no_grad():
        batch = batch_of(MIXED)
        output = model(batch)
        losses = acoustic_loss(output, batch, per_utterance=True)
        for row, item in enumerate(MIXED):
            own = batch_of([item])
            alone = acoustic_loss(model(own), own, per_utterance=True)
            assert losses.total[row].item() == pytest.approx(alone.total.item(), rel=1e-5)
            if item.durations is not None:
                assert torch.equal(output.durations[row, : len(item.durations)], item.durations)
    assert losses.forward_sum is not None
    assert losses.binarization is not None
    # What brings its alignment teaches the aligner nothing, alone or in company.
    assert (losses.forward_sum > 0).tolist() == (losses.binarization > 0).tolist() == [False, True, False]


def test_mixed_utterances_need_an_aligner() -> None:
    model = small_model(aligner=AlignerConfig(learn="never"))
    with pytest.raises(RecipeError, match="without alignments"):
        model(batch_of(MIXED))


def test_only_what_lacks_an_alignment_moves_the_aligner() -> None:
    model = small_model("large", aligner=AlignerConfig(learn="auto")).eval()
    shake(model)

    def moved(items: list[Features]) -> Tensor:
        batch = batch_of(items)
        loss = acoustic_loss(model(batch), batch, per_utterance=True).total.sum()
        assert model.aligner is not None
        found = torch.autograd.grad(loss, list(model.aligner.parameters()))
        return torch.cat([gradient.flatten() for gradient in found])

    torch.testing.assert_close(moved(MIXED), moved([MIXED[1]]), rtol=1e-4, atol=1e-5)


def test_a_phoneme_without_frames_has_no_pitch_to_miss() -> None:
    model = small_model().eval()
    batch = batch_of([ITEMS[1]])
    assert batch.durations is not None
    batch.durations[0, 1] += batch.durations[0, 2]
    batch.durations[0, 2] = 0
    output = model(batch)
    before = acoustic_loss(output, batch).pitch
    output.target.pitch[0, 2] = 1e6
    assert torch.equal(before, acoustic_loss(output, batch).pitch)
    output.target.pitch[0, 1] = 1e6
    assert acoustic_loss(output, batch).pitch > 1e6


def test_the_postnet_s_mel_and_the_one_before_it_both_count() -> None:
    model = small_model("large").eval()
    batch = batch_of(ITEMS)
    output = model(batch)
    assert output.mel_before_postnet is not None
    whole = acoustic_loss(output, batch).mel
    output.mel_before_postnet.data.copy_(output.mel_target)
    after = acoustic_loss(output, batch).mel
    output.mel.data.copy_(output.mel_target)
    assert whole > after > acoustic_loss(output, batch).mel == 0


def test_the_aligner_s_losses_join_with_the_recipe_s_weights() -> None:
    model = small_model(aligner=AlignerConfig(learn="always")).eval()
    batch = batch_of(ITEMS)
    output = model(batch)
    plain = AlignerConfig(forward_sum_weight=0, binarization_weight=0)
    heavy = AlignerConfig(forward_sum_weight=2, binarization_weight=3)
    assert output.alignment is not None
    difference = (
        acoustic_loss(output, batch, weights=heavy).total - acoustic_loss(output, batch, weights=plain).total
    )
    expected = 2 * output.alignment.forward_sum.mean() + 3 * output.alignment.binarization.mean()
    torch.testing.assert_close(difference, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alignment_loss(output.alignment, weights=heavy), expected)


def test_an_output_of_another_batch_is_refused() -> None:
    output = small_model()(batch_of(ITEMS))
    with pytest.raises(ValueError, match="judged against a batch"):
        acoustic_loss(output, batch_of(ITEMS[:1]))


def test_a_penalty_of_the_sources_is_each_utterance_s_own() -> None:
    model = small_model().eval()
    batch = batch_of(ITEMS)
    output = model(batch)
    penalised = replace(output, penalty=torch.tensor([1.0, 2.0, 6.0]))
    each = acoustic_loss(penalised, batch, per_utterance=True)
    plain = acoustic_loss(output, batch, per_utterance=True)
    torch.testing.assert_close(each.total - plain.total, torch.tensor([1.0, 2.0, 6.0]))
    assert acoustic_loss(penalised, batch).items()["penalty"] == pytest.approx(3.0)
    assert acoustic_loss(output, batch).penalty is None


def test_the_gamma_deviance_is_least_at_the_mean_and_the_squared_error_below_it() -> None:
    frames = torch.tensor([1.0, 2.0, 2.0, 3.0, 12.0])
    predictions = torch.linspace(1.0, 8.0, 701).log()
    difference = frames.log() - predictions[:, None]
    deviance, square = gamma_deviance(difference).mean(1), difference.square().mean(1)
    assert predictions[deviance.argmin()].exp().item() == pytest.approx(frames.mean().item(), abs=0.011)
    assert predictions[square.argmin()].exp().item() == pytest.approx(
        frames.log().mean().exp().item(), abs=0.011
    )
    small = torch.tensor([-0.01, 0.01])
    torch.testing.assert_close(gamma_deviance(small), small.square(), rtol=0.01, atol=0)


def test_durations_that_are_means_are_judged_by_the_deviance() -> None:
    batch = batch_of(ITEMS)
    logs, means = small_model().eval(), small_model(durations="mean").eval()
    for one, other in zip(logs.parameters(), means.parameters(), strict=True):
        assert torch.equal(one, other), "the choice changes no weights"
    output = means(batch)
    found = acoustic_loss(output, batch, per_utterance=True).duration
    for row, item in enumerate(ITEMS):
        assert item.durations is not None
        ratio = (item.durations + 1).double() / output.predicted.log_duration[
            row, : len(item.phonemes)
        ].double().exp()
        expected = (2 * (ratio - ratio.log() - 1)).mean()
        assert found[row].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("error", "power"), [("l1", (1,)), ("l2", (2,)), ("l1+l2", (1, 2))])
def test_the_mels_error_is_the_one_that_is_asked_for(error: Any, power: tuple[int, ...]) -> None:
    model = small_model("large").eval()
    batch = batch_of(ITEMS)
    output = model(batch)
    losses = acoustic_loss(output, batch, per_utterance=True, error=error)
    for row, item in enumerate(ITEMS):
        frames = len(item.mel)
        mels = [output.mel, output.mel_before_postnet]
        apart = [(mel[row, :frames].double() - item.mel.double()).abs() for mel in mels]
        expected = sum((a**p).mean() for a in apart for p in power)
        assert losses.mel[row].item() == pytest.approx(expected.item(), rel=1e-5)
    rest = losses.duration + losses.pitch + losses.energy
    torch.testing.assert_close(losses.total, losses.mel + rest)
