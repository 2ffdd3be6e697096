"""Mel spectrograms of one sentence, one above the other."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.files import write_atomically


def plot_mels(mels: Mapping[str, Tensor], path: Path) -> None:
    """Draw natural-log mels ``(T, n_mels)`` by title into a PNG, on one time axis and one colour scale."""
    from matplotlib.figure import Figure

    longest = max(len(mel) for mel in mels.values()) * HOP / SAMPLE_RATE
    figure = Figure(figsize=(8, 1.5 * len(mels)), layout="constrained")
    axes = figure.subplots(len(mels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, mel) in zip(axes, mels.items(), strict=True):
        seconds = len(mel) * HOP / SAMPLE_RATE
        axis.imshow(
            mel.T.numpy(),
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, mel.shape[1]),
            vmin=-11.5,
            vmax=1.5,
        )
        axis.set_xlim(0, longest)
        axis.set_ylabel(title.replace("_", "-"))
        axis.set_yticks([])
    axes[-1].set_xlabel("seconds")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    write_atomically(path, image.getvalue())
