"""A run folder as a simulation would leave it, made without training anything."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from shared_models.config import Recipe, parse_recipe
from simulations.run_folder import RunFolder

ROUNDS = 20
SPEAKERS = ("p225", "p226", "p301", "p302")
ARMS = {
    "centralised": {"federation.algorithm": "centralised"},
    "federated": {"federation.algorithm": "fedrep"},
    "federated-dp": {
        "federation.algorithm": "fedrep",
        "privacy.mode": "central",
        "privacy.epsilon": 8.0,
        "privacy.noise_cohort": 1000,
        "federation.sampling": "poisson",
    },
    "local": {"federation.algorithm": "local"},
}
DESCRIPTIONS = {
    "centralised": "All recordings in one place: the upper bound.",
    "federated": "Voices stay on the devices; updates are sent as they are.",
    "federated-dp": "The same, with clipped and noised updates.",
    "local": "Every device trains alone.",
}


def fake_recipe() -> Recipe:
    """Four arms, as the packaged recipes compare them."""
    return parse_recipe(
        {
            "name": "fake",
            "description": "Numbers made up for a test, <script>alert('and markup')</script>",
            "arms": ARMS,
        },
        where="test",
    )


def fake_run(path: Path, *, recordings: list[Path] | None = None) -> RunFolder:
    """A finished run at ``path``; sounds are vowels, or the given recordings."""
    run = RunFolder.create(path, fake_recipe())
    random = np.random.default_rng(3)
    for place, name in enumerate(ARMS):
        arm = run.arm(name)
        for number in range(1, ROUNDS + 1):
            loss = 0.7 + 0.15 * place + 1.9 * math.exp(-number / 5) + random.normal(0, 0.02)
            arm.append(
                {
                    "round": number,
                    "train_loss": loss,
                    "validation_loss": loss + 0.12 if number % 5 == 0 else None,
                    "epsilon": 8 * math.sqrt(number / ROUNDS) if name == "federated-dp" else None,
                    "clients": 8,
                    "seconds": 2.5,
                    "update_norm": 0.4,
                }
            )
    _sounds(run, recordings)
    run.write_results(fake_results())
    return run


def fake_results() -> dict[str, Any]:
    """Results in the shape that the evaluation leaves."""
    return {
        "recipe": "fake",
        "arms": {name: _arm(name, place) for place, name in enumerate(ARMS)},
        "anchors": {
            "copy_synthesis": {"similarity": interval(0.88, 0.02), "mcd": interval(3.1, 0.2), "wer": 0.06},
            "real": {"similarity": interval(0.86, 0.01), "wer": interval(0.05, 0.01)},
            "different_speaker_real": {"similarity": interval(0.55, 0.01)},
        },
        "notes": ["Waveforms come from Griffin-Lim, which costs similarity and naturalness in every arm."],
    }


def interval(mean: float, half: float) -> dict[str, float]:
    """An estimate with its confidence interval over speakers."""
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": len(SPEAKERS)}


def _arm(name: str, place: int) -> dict[str, Any]:
    after = 0.741 - 0.022 * place
    dp = {
        "epsilon": 8.0,
        "delta": 1e-5,
        "noise_multiplier": 0.92,
        "sampling_probability": 0.01,
        "rounds": ROUNDS,
        "unit": "person",
        "assumed_cohort": 1000,
        "simulated_cohort": 8,
        "statement": "The server adds noise, so that one person more or less is hard to tell.",
    }
    return {
        "description": DESCRIPTIONS[name],
        "protection": "nothing sent"
        if name == "local"
        else "central"
        if name == "federated-dp"
        else "unprotected",
        "epsilon": dp if name == "federated-dp" else None,
        "metrics": {
            "similarity_before": interval(0.604 - 0.01 * place, 0.018),
            "similarity_zero_shot": interval(0.633 - 0.01 * place, 0.02),
            "similarity_after": interval(after, 0.02),
            "similarity_wrong_speaker_before": interval(0.55, 0.012),
            "similarity_wrong_speaker_after": interval(0.561, 0.012),
            "mcd_before": interval(8.3, 0.4),
            "mcd_after": interval(6.9 + 0.2 * place, 0.3),
            "wer_before": interval(0.142, 0.03),
            "wer_after": interval(0.131, 0.03),
            "cer_after": interval(0.061, 0.02),
            "f0_rmse_before": interval(31.2, 4),
            "f0_rmse_after": interval(22.7, 3),
            "f0_rmse_cents_before": interval(310, 40),
            "f0_rmse_cents_after": interval(244, 32),
        },
        "validation_loss": 0.9 + 0.15 * place,
        "speakers": [
            {
                "speaker": speaker,
                "similarity_before": 0.6 + 0.01 * place,
                "similarity_after": after + 0.01 * index,
                "audio": {
                    "real": f"audio/{speaker}-real.wav",
                    "before": f"arms/{name}/audio/{speaker}-before.wav",
                    "after": f"arms/{name}/audio/{speaker}-after.wav",
                },
            }
            for index, speaker in enumerate(SPEAKERS)
        ],
        "seconds": 63.0 + 40 * place,
        "bytes_per_client_round": 0 if name == "local" else 7_340_032,
    }


def _sounds(run: RunFolder, recordings: list[Path] | None) -> None:
    count = 0
    for index, speaker in enumerate(SPEAKERS):
        paths = [run.path / "audio" / f"{speaker}-real.wav"]
        paths += [
            run.arm(name).audio / f"{speaker}-{stage}.wav" for name in ARMS for stage in ("before", "after")
        ]
        for place, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            if recordings:
                wave, rate = soundfile.read(recordings[count % len(recordings)], dtype="float32")
            else:
                wave, rate = _vowel(110 + 30 * index + 5 * place, 0.8 + 0.05 * place), 22050
            soundfile.write(path, wave, rate)
            count += 1


def _vowel(pitch: float, seconds: float, rate: int = 22050) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    partials = (np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 24))
    return (0.2 * sum(partials) * np.hanning(len(time))).astype(np.float32)
