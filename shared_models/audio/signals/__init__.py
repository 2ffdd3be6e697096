"""What may be heard of a recording beside its mel: one file a kind, and one line here.

A kind is an :class:`~shared_models.audio.signals.signal.Extractor`: the waveform itself, or what a frozen network says
of it. A recipe names those that its sources hear in ``features.signals``.
"""

from __future__ import annotations

from functools import lru_cache

from shared_models.audio.signals.signal import Extractor as Extractor
from shared_models.kinds import class_at

SIGNALS = {
    "wave": "shared_models.audio.signals.wave.Waveform",
    "power_mel": "shared_models.audio.signals.spectra.PowerMel",
    "filterbanks_40": "shared_models.audio.signals.spectra.FilterBanks40",
    "filterbanks_80": "shared_models.audio.signals.spectra.FilterBanks80",
}


def extractor(name: str) -> Extractor:
    """The extractor of a signal, made once a process."""
    return _made(SIGNALS[name])


def steps_per_frame(name: str) -> float:
    """How many steps of a signal one frame of the mel lasts."""
    return extractor(name).steps_per_frame if name in SIGNALS else 1.0


@lru_cache(maxsize=8)
def _made(path: str) -> Extractor:
    made: Extractor = class_at(path)()
    return made
