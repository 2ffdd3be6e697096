"""``fedvoice bench watermark``: what is done to marked speech is what it is called, and found is what is counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from embedded_speech import embedded_recordings

from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.reading import Wave, read_audio, resample
from shared_models.utterance import Utterance
from simulations.benchmarks import watermark as bench
from simulations.benchmarks.watermark import ATTACKS, Share, as_json, measure_watermark


@pytest.fixture(scope="module")
def wave() -> Wave:
    return resample(*read_audio(embedded_recordings(1)[0]), SAMPLE_RATE)


def test_a_share_has_the_exact_interval() -> None:
    # The rule of three, exactly: 1 - 0.025 ** (1 / 100).
    assert Share(0, 100).interval == pytest.approx((0.0, 1 - 0.025**0.01))
    assert Share(100, 100).interval == pytest.approx((0.025**0.01, 1.0))


def test_attacks_do_what_they_are_called(wave: Wave) -> None:
    noisy, _ = ATTACKS["white noise at 20 dB"](wave)
    assert 10 * np.log10(np.square(wave).sum() / np.square(noisy - wave).sum()) == pytest.approx(20, abs=0.2)
    assert len(ATTACKS["cropped to 2 s"](wave)[0]) == 2 * SAMPLE_RATE
    assert len(ATTACKS["5 % faster"](wave)[0]) == pytest.approx(len(wave) / 1.05, abs=1)
    assert len(ATTACKS["5 % slower"](wave)[0]) == pytest.approx(len(wave) / 0.95, abs=1)
    assert ATTACKS["8 kHz"](wave)[1] == 8_000
    assert np.array_equal(ATTACKS["37 samples trimmed"](wave)[0], wave[37:])
    for name in ("MP3", "Opus"):
        heard, rate = ATTACKS[name](wave)
        assert len(heard) / rate == pytest.approx(len(wave) / SAMPLE_RATE, abs=0.2)
        assert not np.array_equal(heard[: len(wave)], wave[: len(heard)])


def test_marked_speech_is_found_and_recordings_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = bench.read_sentences(bench.SENTENCES)[-2:]
    monkeypatch.setattr(bench, "read_sentences", lambda _: sentences)
    monkeypatch.setattr(bench, "_opinions", lambda *_: None)
    monkeypatch.setattr(bench, "ATTACKS", {name: ATTACKS[name] for name in ("nothing", "MP3", "5 % faster")})
    recordings = [Utterance(str(path), "anna", path, "text") for path in embedded_recordings(3)]
    found = measure_watermark(2, recordings, threads=1)
    assert found.detected == {"nothing": Share(2, 2), "MP3": Share(2, 2), "5 % faster": Share(0, 2)}
    assert set(found.false_alarms.values()) == {Share(0, 3), Share(0, 2)}
    assert found.seconds > 2
    assert 10 < found.snr < 25
    assert all(0 < cost < 20 for cost in found.cost.values())
    plain = json.loads(json.dumps(as_json(found)))
    assert plain["detected"]["MP3"] == {
        "found": 2,
        "of": 2,
        "low": pytest.approx(0.158, abs=1e-3),
        "high": 1.0,
    }
