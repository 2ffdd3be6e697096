"""Predicted opinions: the same as the published implementations', and on the side of clean speech."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from shared_models.audio.reading import Wave, read_audio, resample
from shared_models.errors import AudioError, MissingExtraError
from simulations.corpora.embedded import ROOT
from simulations.evaluation import naturalness
from simulations.evaluation.naturalness import Listener, load_distill_mos, load_dnsmos

needs_weights = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("speechmos", "distillmos", "onnxruntime")),
    reason="the listeners' weights are not installed",
)
LOADERS = [load_dnsmos, load_distill_mos]


@pytest.fixture(scope="module")
def speech() -> Wave:
    """A clean voice at 16 kHz, 4.9 s."""
    wave, rate = read_audio(ROOT / "k_af_kore" / "k_af_kore_000.ogg")
    return resample(wave, rate, 16000)


@needs_weights
@pytest.mark.parametrize(
    ("load", "once", "four_times"),
    [(load_dnsmos, 3.4144612, 3.3876736), (load_distill_mos, 4.4634123, 4.6721115)],
)
def test_scores_are_those_of_the_published_implementation(
    load: type[Listener], once: float, four_times: float, speech: Wave
) -> None:
    """The figures are what speechmos 0.0.1.1 and distillmos 0.9.1 themselves say of the same samples."""
    assert load().score(speech, 16000) == pytest.approx(once, abs=2e-3)
    assert load().score(np.tile(speech, 4), 16000) == pytest.approx(four_times, abs=2e-3)


@needs_weights
@pytest.mark.parametrize("load", LOADERS)
def test_noise_costs_opinion(load: type[Listener], speech: Wave) -> None:
    random = np.random.default_rng(0)
    noise = random.standard_normal(len(speech)).astype(np.float32)
    clean, noisy = load().score(speech, 16000), load().score(speech + 0.02 * noise, 16000)
    no_speech = load().score(0.001 * noise, 16000)
    assert clean > noisy + 0.5
    assert noisy > no_speech + 0.3
    assert 1 <= no_speech < clean <= 5


@needs_weights
@pytest.mark.parametrize("load", LOADERS)
def test_the_rate_of_the_recording_is_no_matter(load: type[Listener], speech: Wave) -> None:
    expected = load().score(speech, 16000)
    for rate in (22050, 48000):
        assert load().score(resample(speech, 16000, rate), rate) == pytest.approx(expected, abs=0.1)


@needs_weights
@pytest.mark.parametrize("load", LOADERS)
def test_overshoot_is_limited_and_nothing_is_refused(load: type[Listener], speech: Wave) -> None:
    loud = speech / np.abs(speech).max()
    over = loud.copy()
    over[over > 0.9999] = 1.5
    assert load().score(over, 16000) == pytest.approx(load().score(loud, 16000), abs=0.05)
    with pytest.raises(AudioError, match="without samples"):
        load().score(speech[:0], 16000)


@pytest.mark.parametrize(
    ("load", "advice"), [(load_dnsmos, "evaluation"), (load_distill_mos, "distillmos==")]
)
def test_missing_weights_are_one_line(
    load: type[Listener], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naturalness.importlib.util, "find_spec", lambda _: None)
    load.cache_clear()  # type: ignore[attr-defined]
    with pytest.raises(MissingExtraError, match=advice):
        load()
