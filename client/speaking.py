"""Text to speech in a given voice: any length of text, sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.reading import Wave
from shared_models.errors import TextError
from shared_models.speakers.condition import SpeakerCondition
from shared_models.text.phonemes import encode, phonemize
from shared_models.vocoders import Vocoder

PAUSE_SECONDS = 0.25
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s*(?=\S)")


def sentences(text: str) -> list[str]:
    """The sentences of a text, each short enough to synthesise at once."""
    return [part.strip() for line in text.splitlines() for part in _SENTENCE_END.split(line) if part.strip()]


@torch.no_grad()
def speak(
    model: VoiceModel,
    vocoder: Vocoder,
    condition: SpeakerCondition,
    text: str,
    *,
    language: str = "en",
    speed: float = 1.0,
    pitch_shift: float = 0.0,
    on_sentence: Callable[[int, int], None] | None = None,
) -> Wave:
    """Speak ``text`` as ``(samples,)`` at 22,050 Hz; ``pitch_shift`` in semitones, ``speed`` 2 is twice as fast.

    Raises :class:`TextError` if there is nothing to say.
    """
    parts = sentences(text)
    if not parts:
        raise TextError("there is nothing to say: give a text with at least one word")
    model.eval()
    pause = np.zeros(int(PAUSE_SECONDS * SAMPLE_RATE), dtype=np.float32)
    waves: list[Wave] = []
    for number, part in enumerate(parts, start=1):
        phonemes = encode(phonemize(part, language))[None]
        lengths = torch.tensor([phonemes.shape[1]])
        mel, _ = model.synthesize(
            phonemes, lengths, condition, duration_scale=1.0 / speed, pitch_shift=pitch_shift
        )
        waves += [pause, vocoder(mel[0]).numpy()] if waves else [vocoder(mel[0]).numpy()]
        if on_sentence is not None:
            on_sentence(number, len(parts))
    return np.concatenate(waves)
