"""``fedvoice speak``: say a text in a voice, the packaged ones or a cloned one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from shared_models import console
from shared_models.pretrained import DEFAULT_VOICE


def speak(
    text: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")] = "-",
    voice: Annotated[
        str, typer.Option(help="A packaged voice's name, or a profile from `fedvoice clone`.")
    ] = DEFAULT_VOICE,
    output: Annotated[Path, typer.Option(help="Audio file to write: .wav, .flac or .ogg.")] = Path(
        "speech.wav"
    ),
    base: Annotated[
        Path | None, typer.Option(help="The run that the voice was cloned on, if it was moved.")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="Arm of that run.")] = None,
    vocoder: Annotated[
        str | None, typer.Option(help="packaged, griffin_lim, or a vocoder file; packaged if there is one.")
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the text.")] = "en",
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="2 speaks twice as fast.")] = 1.0,
    pitch: Annotated[float, typer.Option(min=-24, max=24, help="Shift in semitones.")] = 0.0,
    list_voices: Annotated[
        bool, typer.Option("--voices", help="List the packaged voices, and stop.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Say a text in a packaged voice, or in a cloned one.

    Examples:

        fedvoice speak "Good morning."

        fedvoice speak "Good morning." --voice me.voice.safetensors --output morning.wav

        fedvoice speak - --voice bm_george --speed 0.9 < letter.txt
    """
    import sys

    from shared_models.audio.mel import SAMPLE_RATE
    from shared_models.audio.reading import write_audio

    if list_voices:
        _list_voices(as_json)
        return
    said = sys.stdin.read() if text == "-" else text
    started = time.monotonic()
    speaker = _load(voice, base, arm, vocoder, language)
    loading = time.monotonic() - started
    wave, figures = _say(said, speaker, language, speed, pitch, quiet=as_json)
    write_audio(output, wave, SAMPLE_RATE)
    if as_json:
        console.print_json({"output": str(output), "seconds_to_load": loading, **figures})
        return
    console.output().print(
        f"{output}: {figures['seconds']:.1f} s of speech, made in {figures['seconds_taken']:.1f} s "
        f"after {loading:.1f} s of loading",
        highlight=False,
        soft_wrap=True,
    )


def _voice(voice: str, base: Path | None, arm: str | None) -> tuple[Any, Any]:
    """The base model, and the condition of the voice that is to speak with it."""
    from client.kept_bases import find_base
    from client.profile import load_profile, profile_base
    from shared_models.base_model import load_base
    from shared_models.pretrained import packaged_voice

    # A bare word is a packaged voice's name, unless a file is called so.
    named = not Path(voice).exists() and not Path(voice).suffix and len(Path(voice).parts) == 1
    path = packaged_voice(voice) if named else Path(voice)
    loaded = load_base(base, arm) if base is not None else find_base(profile_base(path))
    return loaded.model.model, load_profile(path, base=loaded.hash).voice


def _load(
    voice: str, base: Path | None, arm: str | None, vocoder: str | None, language: str
) -> tuple[Any, Any, Any]:
    """Model, condition and vocoder, ready to speak at once."""
    from client.speaking import warm_up
    from shared_models.pretrained import default_vocoder
    from shared_models.vocoders import build_vocoder

    model, condition = _voice(voice, base, arm)
    sound = build_vocoder(vocoder or default_vocoder())
    warm_up(model, sound, condition, language=language)
    return model, condition, sound


def _say(
    text: str,
    speaker: tuple[Any, Any, Any],
    language: str,
    speed: float,
    pitch: float,
    *,
    quiet: bool,
) -> tuple[Any, dict[str, float]]:
    """The wave, and how long it is, took, and took to its first piece."""
    import numpy as np

    from client.speaking import speak_piecewise
    from shared_models.audio.mel import SAMPLE_RATE

    model, condition, sound = speaker
    waves: list[Any] = []
    started, first = time.monotonic(), 0.0
    with console.steps_progress("speaking", quiet=quiet) as advance:
        for spoken in speak_piecewise(
            model, sound, condition, text, language=language, speed=speed, pitch_shift=pitch
        ):
            first = first or time.monotonic() - started
            waves.append(spoken.wave)
            advance(spoken.number, spoken.pieces)
    taken, wave = time.monotonic() - started, np.concatenate(waves)
    seconds = len(wave) / SAMPLE_RATE
    return wave, {
        "seconds": seconds,
        "seconds_taken": taken,
        "seconds_to_first_audio": first,
        "real_time_factor": taken / seconds,
    }


def _list_voices(as_json: bool) -> None:
    from shared_models.pretrained import voice_names

    if as_json:
        console.print_json({"voices": voice_names(), "default": DEFAULT_VOICE})
        return
    for name in voice_names():
        console.output().print(f"{name} (default)" if name == DEFAULT_VOICE else name, highlight=False)
