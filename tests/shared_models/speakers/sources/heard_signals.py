"""Random speech with all signals that sources hear, and models of each kind of source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from tiny_federation import random_speech, tiny_model, tiny_recipe
from torchaudio.models import wav2vec2_model

from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.signals import SIGNALS, steps_per_frame
from shared_models.config import Recipe
from shared_models.features import Features
from shared_models.speakers.sources.self_supervised import save_front

JOINT = ("d_vector", "x_vector", "ecapa")
STYLES = ("gst", "hierarchical_gst", "multiscale_gst", "basis", "vq")
FROZEN = ("wav2vec2", "hubert")
KINDS = (*JOINT, *STYLES, *FROZEN)
BINS = {"wave": 1, "power_mel": 40, "filterbanks_40": 40, "filterbanks_80": 80}
FRONT: dict[str, Any] = {
    "extractor_mode": "group_norm", "extractor_conv_layer_config": [[8, 10, 5], [8, 8, 8], [8, 4, 4]],
    "extractor_conv_bias": False, "encoder_embed_dim": 12, "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 4, "encoder_pos_conv_groups": 2, "encoder_num_layers": 2, "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1, "encoder_ff_interm_features": 16, "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1, "encoder_layer_norm_first": False, "encoder_layer_drop": 0.1, "aux_num_out": None,
}  # fmt: skip


@lru_cache(maxsize=1)
def front_file() -> Path:
    """A small self-supervised model, with random weights."""
    torch.manual_seed(8)
    path = Path(mkdtemp(prefix="fedvoice-test-front-")) / "front.safetensors"
    save_front(path, wav2vec2_model(**FRONT), FRONT)
    return path


def recipe_of(kind: str, **changes: Any) -> Recipe:
    """A tiny recipe whose voices are that source's alone."""
    chosen: dict[str, Any] = {
        "speaker__sources": [kind], "features__signals": [s for s in SIGNALS if s in BINS],
        "cloning__steps": 2, "client__batch_size": 4, "personal_privacy__noise_multiplier": 1.0,
    }  # fmt: skip
    if kind in FROZEN:
        chosen["speaker__encoders"] = {kind: str(front_file())}
    return tiny_recipe(**(chosen | changes))


def model_of(kind: str, **changes: Any) -> VoicePartition:
    """The model of :func:`recipe_of`."""
    return tiny_model(recipe_of(kind, **changes))


def speech(count: int, seed: int = 0) -> list[Features]:
    """Noise in the shape of speech, with every signal."""
    return [
        _with_signals(features, seed * 100 + number)
        for number, features in enumerate(random_speech(count, seed))
    ]


def references(utterances: Sequence[Features]) -> list[Any]:
    """Each of them, as a reference."""
    return [features.reference for features in utterances]


def _with_signals(features: Features, seed: int) -> Features:
    rng = torch.Generator().manual_seed(seed)

    def signal(name: str) -> torch.Tensor:
        steps = round(len(features.mel) * steps_per_frame(name))
        return 0.1 * torch.randn(steps, BINS[name], generator=rng)

    return replace(features, signals={name: signal(name) for name in BINS})
