"""espeak-ng through ctypes: phonemes of a text, and speech with the time of every phoneme.

The library comes with the wheel ``espeakng-loader`` (the optional extra ``espeak``: espeak-ng is under the
GPL, version 3). It is one machine per process, so that calls take turns.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_models.errors import MissingExtraError, TextError

_SYNCHRONOUS = 2
_PHONEME_EVENTS_IN_IPA = 1 | 2
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_IPA = 2
_SEPARATOR = "_"
_RATE, _PITCH, _RANGE = 1, 3, 4
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7


class _EventValue(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("value", _EventValue),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True)
class Sound:
    """A phoneme, or a pause where ``ipa`` is empty, and when it starts."""

    start: float
    """Seconds."""
    ipa: str
    position: int
    """Characters of the text up to here."""


@dataclass(frozen=True, slots=True)
class Speech:
    """What espeak-ng said."""

    samples: NDArray[np.int16]
    """``(samples,)``."""
    rate: int
    sounds: tuple[Sound, ...]


class Espeak:
    """The library, initialised. Get it from :func:`load_espeak`: there is one per process."""

    def __init__(self, library: str, data: str) -> None:
        self._library = ctypes.CDLL(library)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._lock = Lock()
        options = _PHONEME_EVENTS_IN_IPA | _DO_NOT_EXIT
        self.rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), options)
        """Samples a second."""
        if self.rate <= 0:
            raise TextError(f"espeak-ng finds no voices in {data}; reinstall the package espeakng-loader")

    def phonemes(self, text: str, language: str) -> list[list[str]]:
        """IPA phonemes of ``text``, a list a clause. Raises :class:`TextError` for an unknown language."""
        mode = _IPA | (ord(_SEPARATOR) << 8)
        remaining = ctypes.c_char_p(text.encode())
        clauses = []
        with self._lock:
            self._choose(language)
            while remaining.value:
                found = self._library.espeak_TextToPhonemes(ctypes.byref(remaining), _UTF8, mode)
                clauses.append(
                    (found or b"").decode(errors="replace").replace(" ", _SEPARATOR).split(_SEPARATOR)
                )
        return [[phoneme for phoneme in clause if phoneme] for clause in clauses]

    def speak(self, text: str, voice: str, *, pitch: int = 50, words_per_minute: int = 175) -> Speech:
        """Say ``text``; ``voice`` is a language, and a variant if need be: ``en-us+f2``. Pitch is 0 to 99.

        The library's pitch flutter goes on from call to call, so that times repeat only for the same series
        of calls in a new process; the noise of breathy variants never does.
        """
        blocks: list[NDArray[np.int16]] = []
        sounds: list[Sound] = []
        receive = _Callback(_receiver(blocks, sounds))
        encoded = text.encode()
        with self._lock:
            self._choose(voice)
            for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, 50)):
                self._library.espeak_SetParameter(parameter, value, 0)
            self._library.espeak_SetSynthCallback(receive)
            self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
            self._library.espeak_Synchronize()
            # The library keeps the pointer; ours dies with this call.
            self._library.espeak_SetSynthCallback(None)
        samples = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int16)
        return Speech(samples, self.rate, tuple(sounds))

    def _choose(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise TextError(f"espeak-ng has no voice {voice!r}; see its list of languages")


@lru_cache(maxsize=1)
def load_espeak() -> Espeak:
    """The library; raises :class:`MissingExtraError` without the extra ``espeak``."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingExtraError(
            "espeak-ng needs the 'espeak' extra: pip install 'fedvoice[espeak]'"
        ) from error
    return Espeak(str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()))


def _receiver(blocks: list[NDArray[np.int16]], sounds: list[Sound]) -> Callable[[Any, int, Any], int]:
    def receive(wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            blocks.append(np.ctypeslib.as_array(wave, shape=(count,)).astype(np.int16, copy=True))
        index = 0
        while events[index].type != _EVENT_END_OF_LIST:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                ipa = event.value.string.decode(errors="ignore")
                sounds.append(Sound(event.audio_position / 1000, ipa, event.text_position))
            index += 1
        return 0

    return receive
