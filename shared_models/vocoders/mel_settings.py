"""The settings of a mel that a vocoder was trained on, and the refusal of one that is not ours.

A vocoder fed another mel still makes sound, only noisy or shifted, so that nothing but these settings
tells the two apart.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from shared_models.audio.mel import F_MAX, F_MIN, HOP, N_FFT, N_MELS, SAMPLE_RATE
from shared_models.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class MelSettings:
    """What a log-mel depends on, under the names of public HiFi-GAN configurations."""

    sampling_rate: int
    """Hz."""
    n_fft: int
    """Samples, as are the next two."""
    hop_size: int
    win_size: int
    num_mels: int
    fmin: float
    """Hz."""
    fmax: float
    """Hz."""


OURS = MelSettings(SAMPLE_RATE, N_FFT, HOP, N_FFT, N_MELS, F_MIN, F_MAX)
"""Those of :mod:`shared_models.audio.mel`."""


def mel_settings_of(values: object, where: str) -> MelSettings:
    """The settings in a mapping that may hold more; no ``fmax`` at all, or null, is the Nyquist frequency.

    Raises :class:`CheckpointError`, which begins with ``where``, if one is missing or not a number.
    """
    if not isinstance(values, dict):
        raise CheckpointError(f"{where} holds no object of settings: it is damaged or another file")
    rate = values.get("sampling_rate")
    found = dict(values)
    if found.get("fmax") is None and isinstance(rate, int):
        found["fmax"] = rate / 2
    for field in fields(MelSettings):
        value = found.get(field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(
                f"{where} holds {value!r} as '{field.name}', which must be a number: it is damaged or another file"
            )
    return MelSettings(**{field.name: found[field.name] for field in fields(MelSettings)})


def refuse_mismatch(settings: MelSettings, where: str) -> None:
    """Raise :class:`CheckpointError`, naming every field in which ``settings`` differ from ours."""
    theirs, ours = asdict(settings), asdict(OURS)
    differing = [
        f"{name} is {theirs[name]} and not {ours[name]}" for name in ours if theirs[name] != ours[name]
    ]
    if differing:
        raise CheckpointError(
            f"{where} was trained on another mel ({', '.join(differing)}): use a vocoder of FedVoice's mel, or "
            "retrain it"
        )
