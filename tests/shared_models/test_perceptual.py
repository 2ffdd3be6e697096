"""Losses by ear: what a frozen encoder hears of a mel, and that what it says reaches whoever made the mel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from embedded_speech import embedded_recordings
from synthetic_batches import batch_of, random_features, small_model
from tiny_federation import random_speech, shaken, task_of, tiny_model, tiny_recipe

from client.home.policy import Policy
from client.learning.local_round import local_round
from client.learning.material import Material
from shared_models.audio.heard_mel import HEARABLE, spectra_of
from shared_models.audio.mel import SAMPLE_RATE, log_mel
from shared_models.audio.reading import read_audio, resample
from shared_models.audio.signals import extractor
from shared_models.config import LossConfig
from shared_models.errors import CheckpointError, RecipeError
from shared_models.perceptual import Ear, heard_loss, heard_losses
from shared_models.speakers.encoders.encoder import build_encoder
from shared_models.speakers.encoders.encoder_file import save_encoder

SMALL: dict[str, dict[str, Any]] = {
    "d_vector": {"hidden": 12, "layers": 2, "width": 8},
    "x_vector": {"channels": 8, "aggregated": 12, "width": 6},
    "ecapa": {"channels": 16, "aggregated": 12, "attention": 4, "squeezed": 4, "scale": 4, "width": 6},
}
LAYERS = {"d_vector": 1, "x_vector": 5, "ecapa": 4}


def encoder_of(kind: str) -> Any:
    torch.manual_seed(4)
    encoder = build_encoder(kind, **SMALL[kind])
    for name, buffer in encoder.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return encoder


def judge_file(folder: Path, kind: str = "x_vector") -> Path:
    path = folder / f"{kind}.safetensors"
    save_encoder(path, kind, encoder_of(kind))
    return path


def output_of(count: int = 3) -> Any:
    batch = batch_of([random_features(9 - n, 60 - 9 * n, n + 1) for n in range(count)])
    return small_model().eval()(batch)


@pytest.mark.parametrize("signal", HEARABLE)
def test_a_mel_is_heard_much_as_its_recording_is(signal: str) -> None:
    wave = torch.from_numpy(resample(*read_audio(embedded_recordings(1)[0]), SAMPLE_RATE))
    wave = wave[: len(wave) // 256 * 256]
    mel, real = log_mel(wave), extractor(signal)(wave)
    found, lengths = spectra_of(mel[None], torch.tensor([len(mel)]), signal)
    assert found.shape[2] == real.shape[1]
    assert abs(int(lengths[0]) - len(real)) <= 2
    both = min(len(real), int(lengths[0]))
    one, other = found[0, :both].double(), real[:both].double()
    if signal == "power_mel":
        one, other = one.clamp_min(1e-8).log(), other.clamp_min(1e-8).log()
    alike = np.corrcoef(one.numpy().ravel(), other.numpy().ravel())[0, 1]
    assert alike > 0.95
    # As loud, too: a factor in power is a distance here.
    apart = float((one - other).mean()) * (1.0 if signal != "power_mel" else 10 / np.log(10))
    assert abs(apart) < 3.0


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_what_is_like_the_recording_costs_nothing_and_what_is_not_costs_something(kind: str) -> None:
    ear, output = Ear(encoder_of(kind)), output_of()
    perfect = replace(output, mel=output.mel_target)
    for lost in heard_losses(ear, perfect):
        torch.testing.assert_close(lost, torch.zeros(3), atol=1e-6, rtol=0)
    apart, unlike = heard_losses(ear, output)
    assert bool((apart > 0.01).all())
    assert bool((unlike > 1e-6).all())


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_an_utterance_is_heard_alone_however_it_is_padded(kind: str) -> None:
    ear, output = Ear(encoder_of(kind)), output_of()
    together = heard_losses(ear, output)
    for row in range(3):
        frames = int(output.frame_mask[row].sum())
        alone = replace(
            output, mel=output.mel[row : row + 1, :frames], mel_target=output.mel_target[row : row + 1, :frames],
            frame_mask=output.frame_mask[row : row + 1, :frames],
        )  # fmt: skip
        for whole, one in zip(together, heard_losses(ear, alone), strict=True):
            assert one[0].item() == pytest.approx(whole[row].item(), rel=1e-3, abs=1e-5)


def test_the_layers_and_the_embedding_are_the_encoders_own() -> None:
    encoder = encoder_of("x_vector").eval()
    output = output_of(1)
    lengths = output.frame_mask.sum(1)

    def layer_by_layer(mel: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        spectra, steps = spectra_of(mel, lengths, "filterbanks_40")
        assert int(steps[0]) == spectra.shape[1]
        x = spectra.transpose(1, 2) - spectra.mean(1)[:, :, None]
        found = []
        for layer in encoder.layers:
            x = layer(x)
            found.append(x)
        return found, encoder(spectra)

    (said, one), (real, other) = layer_by_layer(output.mel), layer_by_layer(output.mel_target)
    shares = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(said, real, strict=True)]
    apart, unlike = heard_losses(Ear(encoder), output)
    assert apart.item() == pytest.approx(torch.stack(shares).mean().item(), rel=1e-4)
    assert unlike.item() == pytest.approx(1 - F.cosine_similarity(one, other).item(), abs=1e-5)


@pytest.mark.parametrize("kind", sorted(SMALL))
@pytest.mark.parametrize("weight", ["perceptual", "consistency"])
def test_the_gradient_reaches_the_decoder_and_never_the_encoder(
    kind: str, weight: str, tmp_path: Path
) -> None:
    """YourTTS published an erratum because it did not."""
    losses = LossConfig.model_validate({weight: 1.0, "judge": {kind: str(judge_file(tmp_path, kind))}})
    model = small_model()
    output = model(batch_of([random_features(9, 60, 1), random_features(5, 41, 2)]))
    lost = heard_loss(losses, output)
    torch.autograd.backward(lost)
    for name in ("acoustic.mel.weight", "acoustic.decoder.0.attention.query.weight"):
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        assert bool(gradient.any())
    assert len(Ear(encoder_of(kind))(output.mel.detach(), output.frame_mask.sum(1))[1]) == LAYERS[kind]


@pytest.mark.parametrize("algorithm", ["fedrep", "fomaml"])
def test_a_round_listens_if_the_recipe_says_so(algorithm: str, tmp_path: Path) -> None:
    path, speech = judge_file(tmp_path), Material.split(random_speech(5), 0.4)
    chosen = (
        {},
        {"losses__judge": {"x_vector": str(path)}},
        {"losses__judge": {"x_vector": str(path)}, "losses__consistency": 2.0},
    )
    updates = []
    for changes in chosen:
        recipe = tiny_recipe(federation__algorithm=algorithm, **changes)
        model = shaken(tiny_model(recipe))
        updates.append(local_round(model, model.shared_vector(), speech, task_of(recipe)).update.vector)
    assert torch.equal(updates[0], updates[1])
    assert not torch.allclose(updates[0], updates[2])


def test_a_device_is_told_no_place_and_takes_none(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        losses__judge={"x_vector": str(judge_file(tmp_path))}, losses__perceptual=1.0, client__batch_size=4
    )
    assert "losses.judge" in str(Policy(modes=("none",)).refusal(recipe))
    named = recipe.without_folders()
    assert named.losses.judge == {"x_vector": "x_vector.safetensors"}
    assert Policy(modes=("none",)).refusal(named) is None
    with pytest.raises(CheckpointError, match="cannot be read"):
        heard_loss(named.losses, output_of(1))


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"perceptual": 1.0}, "need an encoder"),
        ({"consistency": 1.0}, "need an encoder"),
        ({"judge": {"ecapa": "a", "x_vector": "b"}}, "names 2 encoders"),
        ({"judge": {"cnn": "a"}}, "no speaker encoder 'cnn'"),
    ],
)
def test_losses_that_cannot_be_had_are_refused(losses: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        tiny_recipe().override({f"losses.{name}": value for name, value in losses.items()})
