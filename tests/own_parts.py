"""A test's own parts: where each kind is listed, and the line with which it is registered there."""

from __future__ import annotations

from shared_models.audio.signals import SIGNALS
from shared_models.speakers.adaptation import ADAPTATIONS
from shared_models.speakers.conditioning import CONDITIONINGS
from shared_models.speakers.sources import SOURCES

OWN: tuple[tuple[dict[str, str], str, str], ...] = (
    (SIGNALS, "loudness", "own_signal.Loudness"),
    (SOURCES, "ripples", "own_source.Ripples"),
    (CONDITIONINGS, "attending", "own_conditioning.Attending"),
    (ADAPTATIONS, "bottleneck", "own_adaptation.Bottleneck"),
)
