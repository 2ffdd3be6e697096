"""The smallest recipe that goes through everything, on a few of the embedded voices."""

from __future__ import annotations

from typing import Any

from shared_models.config import Recipe, parse_recipe


def small_recipe(**sections: dict[str, Any]) -> Recipe:
    """Three train and two unseen voices, a model of some ten thousand weights; ``sections`` are merged in."""
    data: dict[str, Any] = {
        "name": "small",
        "corpus": {"speakers": 3, "test_speakers": 2, "utterances": 4},
        "model": {
            "hidden": 32, "encoder_layers": 1, "decoder_layers": 1, "filter": 64, "heads": 2,
        },
        "federation": {"rounds": 2, "cohort": 2, "server_optimizer": "fedavg", "server_lr": 1.0},
        "client": {"inner_steps": 1, "outer_steps": 1, "batch_size": 2, "window_frames": 64},
        "cloning": {"steps": 2, "local_steps": 2},
        "evaluation": {"queries": 1, "metrics": ["similarity", "mcd"], "validation": 2},
        "engine": {"workers": 1},
    }  # fmt: skip
    for name, section in sections.items():
        data[name] = data.get(name, {}) | section
    return parse_recipe(data, where="test")
