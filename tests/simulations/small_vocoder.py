"""The smallest training of a vocoder that goes through everything."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "width": 16, "hidden": 32, "blocks": 1, "steps": 8, "batch_size": 2, "segment_frames": 12,
    "discriminators": ["period"], "discriminator_widths": [0.03], "adversarial_from": 3,
    "checkpoint_every": 2, "validate_every": 4, "validation_recordings": 1,
}  # fmt: skip
CORPUS = {"speakers": 2, "test_speakers": 1, "utterances": 2}
