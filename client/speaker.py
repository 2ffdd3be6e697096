"""The one door from a voice to sound: whatever is spoken, streamed or written leaves through it, with the mark in it.

::

    from client.speaker import Speaker

    Speaker.packaged("af_heart").write("Good morning.", "morning.wav")
    for spoken in Speaker.load("me.voice.safetensors").stream(letter):
        play(spoken.wave)  # (samples,) at 22,050 Hz, from the first piece on

The way is phonemes, mel, postfilter, vocoder, mark. Evaluation takes it too, and stops before the mark
(:meth:`Speaker.unmarked`), so that what it judges is what a person hears.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from client.home.kept_bases import find_base
from client.profile import load_profile, profile_base
from shared_models.accelerator import Accelerator, on_host
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.postfilter import sharpen
from shared_models.audio.reading import Wave, refuse_format, write_audio
from shared_models.base_model import load_base
from shared_models.errors import CheckpointError, TextError
from shared_models.features import Features, collate
from shared_models.pretrained import DEFAULT_VOICE, default_vocoder, packaged_voice
from shared_models.speakers.voice import Voice, require_fit
from shared_models.text.dictionary import Dictionary
from shared_models.text.languages import MANDARIN, Language
from shared_models.text.phonemes import encode, phonemize
from shared_models.text.pieces import Piece, split_text
from shared_models.text.unspoken import UnspokenWarning, is_said, left_out, unspoken
from shared_models.vocoders import Vocoder, build_vocoder
from shared_models.watermark.perth import load_watermark

# A homograph and a word of no dictionary: what English needs to be read from disk, these words need.
_FIRST_WORDS = "I read zbligs."
_FIRST_WORDS_MANDARIN = "你好。"


@dataclass(frozen=True, slots=True)
class Spoken:
    """One piece of a text as sound, marked."""

    piece: Piece
    wave: Wave
    """``(samples,)`` at 22,050 Hz, its pause included."""
    number: int
    """Counted from 1."""
    pieces: int
    """How many the text has."""


@dataclass(frozen=True, slots=True)
class Sound:
    """One utterance as a person hears it, but for the mark."""

    mel: Tensor
    """``(T, n_mels)``, natural log, as the vocoder was given it."""
    wave: Wave
    """``(T * 256,)`` at 22,050 Hz."""


class Speaker:
    """A voice that can speak: a base model, what it is told about the speaker, and a vocoder.

    Made by :meth:`packaged`, :meth:`load` and :meth:`find`, or of its three parts.
    """

    def __init__(self, model: VoiceModel, voice: Voice, vocoder: Vocoder) -> None:
        """Speaks where ``model`` and ``vocoder`` are; the voice is brought to the model."""
        self.device = next(model.parameters()).device
        self.model, self.voice, self.vocoder = model.eval(), voice.to(self.device), vocoder

    @classmethod
    def packaged(
        cls, name: str = DEFAULT_VOICE, *, vocoder: str | None = None, device: str = "auto"
    ) -> Speaker:
        """A packaged voice. Raises :class:`CheckpointError` for a name that none has."""
        return cls.load(packaged_voice(name), vocoder=vocoder, device=device)

    @classmethod
    def load(
        cls,
        profile: str | Path,
        *,
        base: Path | None = None,
        arm: str | None = None,
        vocoder: str | None = None,
        device: str = "auto",
    ) -> Speaker:
        """The voice of a profile, on the base that it was cloned on: the packaged one, one that was kept, or ``base``,
        a run folder (of which ``arm`` names the arm), a checkpoint or a published model's folder.

        ``vocoder`` is ``packaged``, ``griffin_lim`` or a vocoder file; the packaged one by default. ``device`` is where
        to compute, as :meth:`Accelerator.resolve` takes it. Raises :class:`CheckpointError` and :class:`RecipeError`
        for what cannot be read, or does not fit together, and :class:`AcceleratorError`.
        """
        where = Accelerator.resolve(device).device
        loaded = load_base(base, arm) if base is not None else find_base(profile_base(Path(profile)))
        own = load_profile(Path(profile), base=loaded.hash)
        sound = build_vocoder(vocoder or default_vocoder(), where)
        model = loaded.to(where).adapted(own.adaptation or {}).model.model
        try:
            require_fit(own.voice, model.takes)
        except CheckpointError as error:
            raise CheckpointError(f"{profile}: {error}") from None
        return cls(model, own.voice, sound)

    @classmethod
    def find(
        cls,
        voice: str,
        *,
        base: Path | None = None,
        arm: str | None = None,
        vocoder: str | None = None,
        device: str = "auto",
    ) -> Speaker:
        """The voice that a person means: a bare word is a packaged voice's name, unless a file is called so."""
        path = Path(voice)
        named = not path.exists() and not path.suffix and len(path.parts) == 1
        return cls.load(
            packaged_voice(voice) if named else path, base=base, arm=arm, vocoder=vocoder, device=device
        )

    def say(
        self,
        text: str,
        *,
        language: str = "en",
        speed: float = 1.0,
        pitch_shift: float = 0.0,
        dictionary: Dictionary | None = None,
        on_piece: Callable[[int, int], None] | None = None,
    ) -> Wave:
        """``text`` of any length as one wave ``(samples,)`` at 22,050 Hz: all of :meth:`stream`.

        ``on_piece`` is told ``(done, total)`` pieces.
        """
        waves = []
        for spoken in self.stream(
            text, language=language, speed=speed, pitch_shift=pitch_shift, dictionary=dictionary
        ):
            waves.append(spoken.wave)
            if on_piece is not None:
                on_piece(spoken.number, spoken.pieces)
        return np.concatenate(waves)

    def write(self, text: str, path: str | Path, *, language: str = "en") -> None:
        """Say ``text`` to a file whose suffix names the format: ``.wav``, ``.flac``, ``.ogg``, ``.mp3`` and others.

        Raises as :meth:`stream` does, :class:`AudioError` for another suffix, and StorageError.
        """
        refuse_format(Path(path))
        write_audio(Path(path), self.say(text, language=language), SAMPLE_RATE)

    def stream(
        self,
        text: str,
        *,
        language: str = "en",
        speed: float = 1.0,
        pitch_shift: float = 0.0,
        dictionary: Dictionary | None = None,
    ) -> Iterator[Spoken]:
        """Speak ``text`` piece by piece as each is ready; ``pitch_shift`` in semitones, ``speed`` 2 is twice as fast.

        ``dictionary`` tells how some words are said. An :class:`UnspokenWarning` names what is left out because no
        front end says it.

        Raises :class:`TextError` if there is nothing to say, and :class:`WatermarkError`, before the first sound, where
        speech cannot be marked.
        """
        for what, number in (("speed", speed), ("pitch shift", pitch_shift)):
            if not math.isfinite(number) or (what == "speed" and number <= 0):
                raise TextError(f"the {what} is {number}: give a number, as 1.2")
        watermark = load_watermark()
        missing = unspoken(text, language, dictionary)
        pieces = [piece for piece in split_text(text) if is_said(piece.text, language, dictionary)]
        if not pieces:
            reason = left_out(missing) if missing else "give a text with at least one word"
            raise TextError(f"there is nothing to say: {reason}")
        if missing:
            warnings.warn(left_out(missing), UnspokenWarning, stacklevel=2)
        for number, piece in enumerate(pieces, start=1):
            phonemes = encode(phonemize(piece.text, language, dictionary))
            sound = self.unmarked(phonemes, speed=speed, pitch_shift=pitch_shift)
            marked = watermark.mark(sound.wave, SAMPLE_RATE)
            pause = np.zeros(int(piece.pause * SAMPLE_RATE) if number < len(pieces) else 0, dtype=np.float32)
            yield Spoken(piece, np.concatenate([marked, pause]), number, len(pieces))

    @torch.no_grad()
    def unmarked(self, phonemes: Tensor, *, speed: float = 1.0, pitch_shift: float = 0.0) -> Sound:
        """``phonemes (L,)`` int64 as sound before the mark, for measurements: what leaves is streamed."""
        lengths = torch.tensor([len(phonemes)], device=self.device)
        mel, _ = self.model.synthesize(
            phonemes[None].to(self.device),
            lengths,
            self.voice,
            duration_scale=1.0 / speed,
            pitch_shift=pitch_shift,
        )
        return self._sound(mel[0])

    @torch.no_grad()
    def unmarked_as(self, recording: Features) -> Sound:
        """The text of a ``recording`` said with the recording's own durations, pitch and energy, before the mark.

        For measurements: what the voice would sound like if its prosody were the person's own. Raises ValueError for a
        recording without durations.
        """
        if recording.durations is None:
            raise ValueError("the recording has no durations: align it first")
        there = recording.to(self.device)
        output = self.model.acoustic(
            collate([there], None), recording.durations[None].to(self.device), self.voice
        )
        return self._sound(output.mel[0])

    def _sound(self, mel: Tensor) -> Sound:
        sharp = torch.from_numpy(sharpen(on_host(mel).numpy(), self.model.dimensions.contrast))
        return Sound(sharp, self.vocoder(sharp).numpy())

    def warm_up(self, language: str = "en") -> None:
        """Load all that the first sentence would wait for, by speaking one that nobody hears.

        The dictionary, the tagger of words that are written alike, the model that reads unknown words, and the mark are
        each read from disk where they are first needed. Raises :class:`TextError` for a language that cannot be spoken.
        """
        mandarin = Language.of(language).code == MANDARIN
        self.say(_FIRST_WORDS_MANDARIN if mandarin else _FIRST_WORDS, language=language)
