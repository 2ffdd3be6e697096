"""The weights that ship with FedVoice: where they lie. MODEL_CARD.md says what they are and how they were made.

``acoustic.safetensors`` is a federation's shared set like any other, ``vocoder.safetensors`` a vocoder file, and
``voices/`` holds profiles of synthetic voices that belong to nobody.
"""

from __future__ import annotations

from pathlib import Path

from shared_models.errors import CheckpointError

FOLDER = Path(__file__).resolve().parent
ACOUSTIC = FOLDER / "acoustic.safetensors"
VOCODER = FOLDER / "vocoder.safetensors"
VOICES = FOLDER / "voices"
VOICE_SUFFIX = ".voice.safetensors"
DEFAULT_VOICE = "af_heart"


def default_vocoder() -> str:
    """The name of the vocoder that speaks where none is asked for: the packaged one, if it is there."""
    return "packaged" if VOCODER.is_file() else "griffin_lim"


def voice_names() -> list[str]:
    """The packaged voices."""
    return sorted(path.name.removesuffix(VOICE_SUFFIX) for path in VOICES.glob(f"*{VOICE_SUFFIX}"))


def packaged_voice(name: str) -> Path:
    """The profile of a packaged voice. Raises :class:`CheckpointError` for a name that none has."""
    path = VOICES / f"{name}{VOICE_SUFFIX}"
    if name not in voice_names():
        raise CheckpointError(
            f"there is no voice '{name}': choose one of {', '.join(voice_names()) or 'none'}, or give a profile's path"
        )
    return path
