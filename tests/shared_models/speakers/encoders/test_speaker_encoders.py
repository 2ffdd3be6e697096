"""Speaker encoders: published sizes, independence of padding, and values against NumPy in float64 and a peer."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from shared_models.audio.signals import SIGNALS, extractor
from shared_models.audio.sixteen_kilohertz import RATE, STEPS_PER_FRAME, filterbanks, power_mel
from shared_models.errors import AudioError
from shared_models.speakers.encoders import ENCODERS
from shared_models.speakers.encoders.encoder import build_encoder, embed_recording

Array = NDArray[np.float64]
SMALL: dict[str, dict[str, Any]] = {
    "d_vector": {"hidden": 8, "layers": 2, "width": 6},
    "x_vector": {"channels": 8, "aggregated": 12, "width": 6},
    "ecapa": {"channels": 16, "aggregated": 12, "attention": 4, "squeezed": 4, "scale": 4, "width": 6},
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [("d_vector", {})] + [
    (k, {"norm": n}) for k in ("x_vector", "ecapa") for n in ("batch", "layer")
]


@torch.no_grad()
def small(kind: str, **changes: Any) -> Any:
    torch.manual_seed(3)
    encoder = build_encoder(kind, **(SMALL[kind] | changes)).eval()
    for tensor in (*encoder.parameters(), *encoder.buffers()):
        if tensor.is_floating_point():
            tensor += 0.1 * torch.rand_like(tensor)
    return encoder


def spectra_of(encoder: Any, rows: int, steps: int) -> torch.Tensor:
    return torch.randn(rows, steps, encoder.sizes.bins, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("kind", "sizes", "published"),
    [
        ("d_vector", {}, 1_423_616),
        ("d_vector", {"hidden": 768, "projection": 256}, 4_663_296),
        ("x_vector", {}, 4_252_564),
        ("ecapa", {}, 6_194_048),
        ("ecapa", {"channels": 1024}, 14_660_416),
        ("ecapa", {"channels": 1024, "aggregated": 3072}, 20_767_552),
    ],
    ids=str,
)
def test_parameters_are_as_many_as_published(kind: str, sizes: dict[str, int], published: int) -> None:
    with torch.device("meta"):
        encoder = build_encoder(kind, **sizes)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == published


def test_every_encoder_hears_a_signal_of_its_own_bins() -> None:
    wave = torch.randn(22050, generator=torch.Generator().manual_seed(1))
    for kind in ENCODERS:
        encoder = build_encoder(kind).eval()
        assert encoder.hears in SIGNALS
        heard = extractor(encoder.hears)(wave)
        assert heard.shape[1] == encoder.sizes.bins
        assert abs(len(heard) - 22050 / 256 * extractor(encoder.hears).steps_per_frame) <= 2
        assert encoder(heard[None]).shape == (1, encoder.width)
    assert pytest.approx(100 * 256 / 22050) == STEPS_PER_FRAME


@pytest.mark.parametrize(("kind", "changes"), VARIANTS, ids=str)
def test_padding_changes_no_embedding(kind: str, changes: dict[str, Any]) -> None:
    encoder = small(kind, **changes)
    spectra, lengths = spectra_of(encoder, 3, 30), torch.tensor([30, 9, 17])
    spoiled = torch.where((torch.arange(30) < lengths[:, None])[:, :, None], spectra, torch.tensor(37.0))
    with torch.no_grad():
        together = encoder(spoiled, lengths)
        alone = torch.cat([encoder(spectra[i : i + 1, :n]) for i, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_what_a_federation_trains_has_no_running_statistics() -> None:
    for kind in ("x_vector", "ecapa"):
        encoder = build_encoder(kind, **SMALL[kind], norm="layer")
        assert not list(encoder.buffers())
        assert not any(isinstance(layer, nn.BatchNorm1d) for layer in encoder.modules())
    assert not list(build_encoder("d_vector", **SMALL["d_vector"]).buffers())


def weights_of(module: nn.Module) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}


def convolved(x: Array, weight: Array, bias: Array, dilation: int = 1) -> Array:
    """``x (C, N)`` continued by reflection, summed tap by tap."""
    kernel = weight.shape[2]
    margin = dilation * (kernel - 1) // 2
    wide = np.pad(x, ((0, 0), (margin, margin)), mode="reflect")
    taps = [weight[:, :, k] @ wide[:, k * dilation : k * dilation + x.shape[1]] for k in range(kernel)]
    return np.asarray(sum(taps) + bias[:, None])


def tdnn(x: Array, w: dict[str, Array], at: str, dilation: int = 1) -> Array:
    """Convolution, ReLU, batch norm by its running statistics."""
    y = np.maximum(convolved(x, w[f"{at}.conv.conv.weight"], w[f"{at}.conv.conv.bias"], dilation), 0)
    return normed(y, w, f"{at}.norm.norm")


def normed(y: Array, w: dict[str, Array], at: str) -> Array:
    scaled = (y - w[f"{at}.running_mean"][:, None]) / np.sqrt(w[f"{at}.running_var"][:, None] + 1e-5)
    return np.asarray(scaled * w[f"{at}.weight"][:, None] + w[f"{at}.bias"][:, None])


def ecapa(x: Array, w: dict[str, Array], scale: int) -> Array:
    """SpeechBrain's ECAPA-TDNN of ``x (bins, N)``, written down in NumPy."""
    x = tdnn(x - x.mean(1, keepdims=True), w, "blocks.0")
    outputs = []
    for block, dilation in ((1, 2), (2, 3), (3, 4)):
        at = f"blocks.{block}"
        y = tdnn(x, w, f"{at}.tdnn1")
        groups = np.split(y, scale)
        for number in range(1, scale):
            before = groups[number - 1] if number > 1 else 0
            groups[number] = tdnn(
                groups[number] + before, w, f"{at}.res2net_block.blocks.{number - 1}", dilation
            )
        y = tdnn(np.concatenate(groups), w, f"{at}.tdnn2")
        se = f"{at}.se_block"
        s = np.maximum(
            convolved(y.mean(1, keepdims=True), w[f"{se}.conv1.conv.weight"], w[f"{se}.conv1.conv.bias"]), 0
        )
        s = convolved(s, w[f"{se}.conv2.conv.weight"], w[f"{se}.conv2.conv.bias"])
        x = y / (1 + np.exp(-s)) + x
        outputs.append(x)
    x = tdnn(np.concatenate(outputs), w, "mfa")
    context = np.concatenate(
        [x, *(np.repeat(f(x, axis=1)[:, None], x.shape[1], 1) for f in (np.mean, np.std))]
    )
    scores = convolved(
        np.tanh(tdnn(context, w, "asp.tdnn")), w["asp.conv.conv.weight"], w["asp.conv.conv.bias"]
    )
    attention = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    mean = (attention * x).sum(1)
    std = np.sqrt((attention * (x - mean[:, None]) ** 2).sum(1))
    pooled = normed(np.concatenate([mean, std])[:, None], w, "asp_bn.norm")
    return convolved(pooled, w["fc.conv.weight"], w["fc.conv.bias"])[:, 0]


def test_ecapa_says_what_numpy_says() -> None:
    encoder = small("ecapa")
    spectra = spectra_of(encoder, 1, 21)
    expected = ecapa(spectra[0].double().numpy().T, weights_of(encoder), SMALL["ecapa"]["scale"])
    torch.testing.assert_close(
        encoder(spectra)[0].detach().double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-4
    )


def test_an_x_vector_says_what_numpy_says() -> None:
    encoder = small("x_vector")
    spectra = spectra_of(encoder, 1, 21)
    w, x = weights_of(encoder), spectra[0].double().numpy().T
    x = x - x.mean(1, keepdims=True)
    for number, dilation in enumerate((1, 2, 3, 1, 1)):
        x = tdnn(x, w, f"layers.{number}", dilation)
    expected = w["output.weight"] @ np.concatenate([x.mean(1), x.std(1)]) + w["output.bias"]
    torch.testing.assert_close(
        encoder(spectra)[0].detach().double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-4
    )


def test_a_d_vector_says_what_resemblyzer_says(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its network alone is used: what it reads and cuts recordings with, one of which needs a compiler, may be absent.
    for module in ("webrtcvad", "librosa"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    package = pytest.importorskip("resemblyzer")
    theirs = package.VoiceEncoder("cpu", verbose=False)
    ours = build_encoder("d_vector")
    ours.load_state_dict({n: t for n, t in theirs.state_dict().items() if n.startswith(("lstm", "linear"))})
    mels = torch.rand(3, 160, 40, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(ours(mels), theirs(mels), atol=1e-6, rtol=1e-5)
        assert float(ours(mels).min()) == 0.0


def test_filterbanks_are_decibels_of_triangles() -> None:
    wave = np.random.default_rng(0).standard_normal(2000)
    padded = np.pad(wave, 200)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[start : start + 400] * window for start in range(0, 2001, 160)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 22) / 2595) - 1)
    hertz = np.linspace(0, 8000, 201)
    triangles = np.stack(
        [np.maximum(0, 1 - np.abs(hertz - edges[b + 1]) / (edges[b + 1] - edges[b])) for b in range(20)]
    )
    decibels = 10 * np.log10(np.maximum(power @ triangles.T, 1e-10))
    expected = np.maximum(decibels, decibels.max() - 80)
    found = filterbanks(torch.from_numpy(wave).float(), 20).numpy()
    assert np.abs(found - expected).max() < 2e-3


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_a_recording_has_one_unit_embedding_at_any_loudness(kind: str) -> None:
    encoder = build_encoder(kind).eval()
    t = np.arange(3 * RATE) / RATE
    loud = (0.3 * np.sin(2 * np.pi * 140 * t) * (1 + np.sin(2 * np.pi * 3 * t))).astype(np.float32)
    embedding = embed_recording(encoder, loud, RATE)
    assert embedding.shape == (encoder.width,)
    assert float(embedding.norm()) == pytest.approx(1, abs=1e-5)
    quiet = [embed_recording(encoder, loud * level, RATE) for level in (0.01, 0.001)]
    torch.testing.assert_close(quiet[0], quiet[1], atol=1e-3, rtol=1e-3)
    with pytest.raises(AudioError, match="silent"):
        embed_recording(encoder, np.zeros(RATE, dtype=np.float32), RATE)
    with pytest.raises(AudioError, match="too short"):
        embed_recording(encoder, loud[:1000], RATE)


def test_power_mels_have_no_log() -> None:
    wave = torch.randn(RATE, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(power_mel(2 * wave), 4 * power_mel(wave))
