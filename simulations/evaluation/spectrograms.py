"""Spectrograms of clones beside the people that they are of: whether there are harmonics can be looked at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.audio.reading import Wave
from shared_models.files import write_atomically
from simulations.extra import require

Spectrogram = NDArray[np.float16]
"""``(T, bins)`` decibels under the clip's loudest bin, from 0 Hz to :data:`HIGHEST`."""
HIGHEST = 8_000.0
"""Hertz: the highest that a mel holds."""
QUIETEST = -80.0
"""Decibels, in all pictures alike."""
_SHOWN_SECONDS = 2.0
"""Of each clip, from its beginning: in more, harmonics would be too narrow to see."""
_WINDOW = 1024
"""Samples, 46 ms: long enough to part the harmonics of a low voice."""


def spectrogram(wave: Wave) -> Spectrogram:
    """Power of ``wave (samples,)`` at 22,050 Hz by frames of 256 samples and bins of 21.5 Hz."""
    window = torch.hann_window(_WINDOW)
    sound = torch.from_numpy(np.ascontiguousarray(wave))
    spectrum = torch.stft(sound, _WINDOW, HOP, window=window, return_complex=True, pad_mode="constant")
    power = spectrum.abs().square()[: round(HIGHEST * _WINDOW / SAMPLE_RATE) + 1].T
    decibels = 10 * torch.log10(power / power.max().clamp(min=1e-12) + 1e-12)
    found: Spectrogram = decibels.clamp(min=QUIETEST).numpy().astype(np.float16)
    return found


def save_spectrograms(path: Path, waves: Mapping[str, Wave]) -> None:
    """Keep the spectrograms of ``waves`` by name, as :func:`load_spectrograms` reads them."""
    buffer = io.BytesIO()
    named = {name: spectrogram(wave) for name, wave in waves.items()}
    np.savez_compressed(buffer, **named)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def load_spectrograms(path: Path) -> dict[str, Spectrogram]:
    """What :func:`save_spectrograms` kept."""
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def draw(path: Path, rows: Sequence[tuple[str, Sequence[tuple[str, Spectrogram]]]]) -> None:
    """A picture: a row a person, with named columns; time and frequency are on one scale, and so are colours.

    Raises :class:`MissingExtraError` without matplotlib, and StorageError.
    """
    require("a figure of spectrograms", ("matplotlib",))
    from matplotlib.figure import Figure

    columns = max(len(pictures) for _, pictures in rows)
    figure = Figure(figsize=(1 + 4.0 * columns, 0.6 + 2.4 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, sharex=True, sharey=True)
    for number, (person, pictures) in enumerate(rows):
        for (name, whole), place in zip(pictures, axes[number], strict=False):
            shown = whole[: round(_SHOWN_SECONDS * SAMPLE_RATE / HOP)]
            extent = (0.0, len(shown) * HOP / SAMPLE_RATE, 0.0, HIGHEST / 1000)
            image = place.imshow(
                shown.T.astype(np.float32), origin="lower", aspect="auto", extent=extent, cmap="magma",
                vmin=QUIETEST, vmax=0.0, interpolation="nearest",
            )  # fmt: skip
            place.set_xlim(0.0, _SHOWN_SECONDS)
            if number == 0:
                place.set_title(name, fontsize=10)
        axes[number][0].set_ylabel(f"{person}\nkHz", fontsize=9)
    for place in axes[-1]:
        place.set_xlabel("seconds", fontsize=9)
    figure.colorbar(image, ax=axes, label="dB under the loudest", fraction=0.02)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())
