"""The voices that come with FedVoice: natural and synthetic, nobody's. See ``embedded/ATTRIBUTION.md``."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent / "embedded"
"""The folder of the pack: ``metadata.csv`` and one folder a voice."""
