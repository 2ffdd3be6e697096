"""The metrics against closed forms, other implementations and real voices."""

from __future__ import annotations

import csv
import importlib.util
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import log_mel
from shared_models.audio.pitch import Pitch, track_pitch
from shared_models.audio.reading import read_audio, resample
from shared_models.audio.similarity import centroid, load_d_vector, similarity
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, MissingExtraError
from simulations.evaluation import recognition
from simulations.evaluation.bootstrap import bootstrap_mean, mean_over_speakers
from simulations.evaluation.cepstral_distortion import cepstral_distortion, mel_cepstra
from simulations.evaluation.pitch_error import pitch_error, pitch_error_on_path
from simulations.evaluation.recognition import error_rates, load_moonshine, normalise
from simulations.evaluation.time_warping import pairwise_distances, warp


def random_mel(frames: int, seed: int = 0) -> torch.Tensor:
    """A mel that wanders, as speech does, so that neighbouring frames are alike and distant ones are not."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, 80, generator=generator).cumsum(dim=0) * 0.3 - 5


# Dynamic time warping


def cheapest_path_cost(distances: np.ndarray) -> float:
    """The symmetric form, cell by cell."""
    rows, columns = distances.shape
    total = np.full((rows, columns), np.inf)
    for i in range(rows):
        for j in range(columns):
            reached = [distances[0, 0]] if i == j == 0 else []
            if i and j:
                reached.append(total[i - 1, j - 1] + 2 * distances[i, j])
            if i:
                reached.append(total[i - 1, j] + distances[i, j])
            if j:
                reached.append(total[i, j - 1] + distances[i, j])
            total[i, j] = min(reached)
    return float(total[-1, -1])


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 10_000))
@settings(max_examples=150)
def test_path_is_monotonic_whole_and_the_cheapest(rows: int, columns: int, seed: int) -> None:
    distances = np.random.default_rng(seed).random((rows, columns))
    i, j = warp(distances)
    assert (i[0], j[0], i[-1], j[-1]) == (0, 0, rows - 1, columns - 1)
    steps = np.stack([np.diff(i), np.diff(j)], axis=1)
    assert set(map(tuple, steps.tolist())) <= {(1, 0), (0, 1), (1, 1)}
    weights = np.concatenate([[1], steps.sum(axis=1)])
    assert (weights * distances[i, j]).sum() == pytest.approx(cheapest_path_cost(distances))


@given(rows=st.integers(2, 15), columns=st.integers(2, 15), seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_swapping_the_recordings_swaps_the_path(rows: int, columns: int, seed: int) -> None:
    distances = np.random.default_rng(seed).random((rows, columns))
    i, j = warp(distances)
    swapped_j, swapped_i = warp(distances.T)
    assert np.array_equal(i, swapped_i)
    assert np.array_equal(j, swapped_j)


def test_distances_are_euclidean() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((4, 3)), random.random((5, 3))
    expected = [[math.dist(a, b) for b in second] for a in first]
    assert np.allclose(pairwise_distances(first, second), expected)


# Mel-cepstral distortion


def test_same_mel_has_no_distortion() -> None:
    assert cepstral_distortion(random_mel(60), random_mel(60)) == pytest.approx(0, abs=1e-5)


@given(coefficient=st.integers(1, 13), amount=st.floats(0.05, 2))
@settings(max_examples=30)
def test_ripple_of_known_depth_has_its_closed_form(coefficient: int, amount: float) -> None:
    """A difference of ``amount * cos(d w)`` is ``10 / ln 10 * sqrt(2) * amount`` dB on every frame."""
    mel = torch.zeros(30, 80)
    ripple = amount * torch.cos(math.pi * coefficient * (torch.arange(80) + 0.5) / 80)
    expected = 10 / math.log(10) * math.sqrt(2) * amount
    assert cepstral_distortion(mel, mel + ripple) == pytest.approx(expected, rel=1e-4)


def test_distortion_is_the_envelope_difference_in_decibels() -> None:
    """If coefficients 1 to 13 hold all of it, MCD is the RMS of 20 log10 of the ratio of magnitudes."""
    w = (torch.arange(80) + 0.5) * math.pi / 80
    difference = 0.3 * torch.cos(w) - 0.2 * torch.cos(4 * w) + 0.1 * torch.cos(13 * w)
    rms_decibels = (20 / math.log(10) * difference).square().mean().sqrt().item()
    assert cepstral_distortion(torch.zeros(5, 80), difference.expand(5, 80)) == pytest.approx(
        rms_decibels, rel=1e-5
    )


def test_loudness_and_fine_detail_do_not_count() -> None:
    mel = random_mel(50)
    assert cepstral_distortion(mel, mel + 1.5) == pytest.approx(0, abs=1e-4)
    fine = 0.5 * torch.cos(math.pi * 14 * (torch.arange(80) + 0.5) / 80)
    assert cepstral_distortion(mel, mel + fine) == pytest.approx(0, abs=1e-4)
    assert mel_cepstra(mel).shape == (50, 13)


def test_speaking_slower_costs_little_and_another_sentence_much() -> None:
    mel = random_mel(80)
    slow = mel.repeat_interleave(torch.tensor([1, 2, 3, 2] * 20), dim=0)
    assert cepstral_distortion(mel, slow) == pytest.approx(0, abs=1e-4)
    assert cepstral_distortion(mel, random_mel(80, seed=1)) > 3
    assert cepstral_distortion(mel, slow) == pytest.approx(cepstral_distortion(slow, mel), abs=1e-4)


# Pitch error


def flat(hertz: float, voiced: list[bool]) -> Pitch:
    return Pitch(torch.full((len(voiced),), math.log(hertz)), torch.tensor(voiced))


def test_pitch_error_of_an_octave() -> None:
    mel, voiced = random_mel(40), [True] * 40
    error = pitch_error(flat(100, voiced), mel, flat(200, voiced), mel)
    assert error.rmse_cents == pytest.approx(1200, rel=1e-4)
    assert error.mean_cents == pytest.approx(1200, rel=1e-4)
    assert error.rmse_hz == pytest.approx(100, rel=1e-4)
    assert error.voicing_error == 0


def test_pitch_error_follows_the_warping() -> None:
    mel = random_mel(40)
    track = torch.linspace(4.5, 5.5, 40)
    repeats = torch.tensor([1, 3] * 20)
    slow = Pitch(track.repeat_interleave(repeats), torch.ones(80, dtype=torch.bool))
    fast = Pitch(track, torch.ones(40, dtype=torch.bool))
    warped = pitch_error(fast, mel, slow, mel.repeat_interleave(repeats, dim=0))
    assert warped.rmse_cents == pytest.approx(0, abs=1e-3)


def test_voicing_error_counts_pairs_and_pitch_only_where_both_are_voiced() -> None:
    path = np.arange(4)
    first, second = flat(100, [True, True, False, False]), flat(110, [True, False, True, False])
    error = pitch_error_on_path(first, second, path, path)
    assert error.voicing_error == 0.5
    assert error.rmse_hz == pytest.approx(10, rel=1e-4)
    nothing = pitch_error_on_path(flat(100, [True] * 4), flat(100, [False] * 4), path, path)
    assert nothing.voicing_error == 1.0
    assert math.isnan(nothing.rmse_cents)


# Recognition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, WORLD!", "hello world"),
        ("It’s the dogs' 'bone' -- isn't it?", "it's the dogs bone isn't it"),
        ("well-known  snake_case\n50", "well known snake case 50"),
        ("Café ﬁne", "café fine"),
        ("...", ""),
    ],
)
def test_normaliser(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text(max_size=60))
def test_normaliser_changes_nothing_the_second_time(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_error_rates_by_hand() -> None:
    """Nine words, one substituted, one deleted, one inserted: pooled, not averaged over sentences."""
    rates = error_rates(
        ["The cat sat on the mat.", "Oh, hello there!"], ["the cat sit on mat", "oh hello there sir"]
    )
    assert rates.wer == pytest.approx(3 / 9)
    assert rates.cer == pytest.approx((1 + 4 + 4) / (22 + 14))
    assert error_rates(["A b c"], ["a B, c."]).wer == 0
    assert error_rates(["yes"], [""]).wer == 1
    assert error_rates(["yes"], ["oh yes yes yes"]).wer == 3
    assert math.isnan(error_rates(["..."], ["hm"]).wer)


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="resemblyzer"):
        load_d_vector.__wrapped__()
    for module in ("moonshine_voice", "jiwer"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=r"fedvoice\[evaluation\]"):
        load_moonshine.__wrapped__()
    with pytest.raises(MissingExtraError, match=r"fedvoice\[evaluation\]"):
        recognition.error_rates(["a"], ["a"])


def clips(root: Path, per_speaker: int, speakers: int, source: str = "") -> dict[str, list[tuple[Path, str]]]:
    found: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["speaker_id"].startswith(source) and len(found[row["speaker_id"]]) < per_speaker:
                found[row["speaker_id"]].append((root / row["path"], row["text"]))
    names = [name for name in sorted(found) if found[name]]
    return {name: found[name] for name in names[:: max(1, len(names) // speakers)][:speakers]}


@pytest.mark.realspeech
@pytest.mark.slow
def test_clean_speech_is_understood_and_noise_is_not(kokoro_path: Path) -> None:
    pytest.importorskip("moonshine_voice")
    recogniser = load_moonshine()
    said, heard, masked = [], [], []
    random = np.random.default_rng(0)
    for [(path, text)] in clips(kokoro_path, 1, 8, "k_").values():
        wave, rate = read_audio(path)
        said.append(text)
        heard.append(recogniser.transcribe(wave, rate))
        noise = (0.5 * random.standard_normal(len(wave))).astype(np.float32)
        masked.append(recogniser.transcribe((0.05 * wave + noise).clip(-1, 1), rate))
    assert error_rates(said, heard).wer < 0.12
    assert error_rates(said, masked).wer > 0.6


# Speaker similarity


@pytest.mark.realspeech
def test_embedding_equals_the_packages_own(speech_path: Path) -> None:
    """Ours needs neither librosa nor a voice activity detector, and must not differ for that."""
    package = pytest.importorskip("resemblyzer")
    theirs, ours = package.VoiceEncoder("cpu", verbose=False), load_d_vector()
    for [(path, _)] in clips(speech_path, 1, 4).values():
        wave, rate = read_audio(path)
        for part in (wave, wave[: rate // 2], wave[: int(2.9 * rate)]):
            raised = package.normalize_volume(resample(part, rate, 16000), -30, increase_only=True)
            assert np.abs(theirs.embed_utterance(raised) - ours.embed(part, rate)).max() < 1e-5


@pytest.mark.realspeech
@pytest.mark.slow
def test_same_speaker_is_more_alike_than_another(speech_path: Path) -> None:
    if importlib.util.find_spec("resemblyzer") is None:
        pytest.skip("resemblyzer is not installed")
    verifier = load_d_vector()
    voices = [
        [verifier.embed(load_speech(path, FeatureConfig()).wave, 22050) for path, _ in files]
        for files in clips(speech_path, 4, 8, "ls").values()
    ]
    centres = [centroid(voice[:3]) for voice in voices]
    table = np.array([[similarity(voice[3], centre) for centre in centres] for voice in voices])
    own = np.diag(table)
    others = table[~np.eye(len(table), dtype=bool)]
    assert own.mean() > others.mean() + 0.2
    assert (table.argmax(axis=1) == np.arange(len(table))).mean() > 0.8


def test_silence_has_no_voice() -> None:
    if importlib.util.find_spec("resemblyzer") is None:
        pytest.skip("resemblyzer is not installed")
    with pytest.raises(AudioError):
        load_d_vector().embed(np.zeros(16000, dtype=np.float32), 16000)


def test_similarity_is_the_cosine_and_a_centroid_is_a_unit_vector() -> None:
    first, second = np.array([3.0, 4.0], dtype=np.float32), np.array([4.0, 3.0], dtype=np.float32)
    assert similarity(first, first) == pytest.approx(1)
    assert similarity(first, second) == pytest.approx(24 / 25)
    assert centroid([first, second]) == pytest.approx([math.sqrt(0.5)] * 2)


# Estimates over speakers


def test_bootstrap_equals_scipys_and_nears_student_t() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).normal(0.7, 0.1, 40)
    ours = bootstrap_mean(values.tolist())
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-3)
    student = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx(student, abs=4e-3)
    assert ours.mean == pytest.approx(values.mean())


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    samples = [random.normal(1.0, 0.5, 30).tolist() for _ in range(300)]
    estimates = [bootstrap_mean(sample, resamples=400) for sample in samples]
    covered = np.mean([e.low <= 1.0 <= e.high for e in estimates])
    assert 0.90 < covered < 0.98


def test_same_values_give_the_same_interval_and_missing_ones_are_left_out() -> None:
    values = [0.1, 0.5, float("nan"), 0.9]
    first = bootstrap_mean(values)
    assert first == bootstrap_mean(values)
    assert first.count == 3
    assert first.mean == pytest.approx(0.5)
    assert first.low <= first.mean <= first.high
    assert math.isnan(bootstrap_mean([float("nan")]).mean)
    alone = bootstrap_mean([0.4])
    assert alone.mean == 0.4
    assert math.isnan(alone.low)


def test_speakers_weigh_the_same_whatever_their_clips() -> None:
    many = {"anna": [1.0] * 99, "bert": [0.0], "carl": [float("nan")]}
    estimate = mean_over_speakers(many)
    assert estimate.mean == pytest.approx(0.5)
    assert estimate.count == 2


@pytest.mark.realspeech
def test_another_voice_is_further_than_a_copy_of_the_same(kokoro_path: Path) -> None:
    """Two voices say the same sentence; the copy is the first voice through the vocoder's mel."""
    from shared_models.vocoders import GriffinLim

    voices = list(clips(kokoro_path, 1, 4, "k_").values())
    waves = [torch.from_numpy(load_speech(files[0][0], FeatureConfig()).wave) for files in voices]
    mels = [log_mel(wave) for wave in waves]
    copy = GriffinLim()(mels[0])
    copied = cepstral_distortion(mels[0], log_mel(copy))
    assert all(cepstral_distortion(mels[0], other) > 2 * copied for other in mels[1:])
    own = pitch_error(track_pitch(waves[0]), mels[0], track_pitch(copy), log_mel(copy))
    assert own.rmse_cents < 200
    assert own.voicing_error < 0.15
