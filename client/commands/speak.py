"""``fedvoice speak``: say a text in a voice, the packaged ones or a cloned one."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared_models import console
from shared_models.pretrained import DEFAULT_VOICE

if TYPE_CHECKING:
    from client.speaker import Speaker
    from shared_models.text.dictionary import Dictionary


def speak(
    text: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")] = "-",
    voice: Annotated[
        str, typer.Option(help="A packaged voice's name, or a profile from `fedvoice clone`.")
    ] = DEFAULT_VOICE,
    output: Annotated[
        Path, typer.Option(help="Audio file to write: .wav, .flac, .ogg, .opus, .mp3, .aiff, .au or .caf.")
    ] = Path("speech.wav"),
    base: Annotated[
        Path | None, typer.Option(help="The run that the voice was cloned on, if it was moved.")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="Arm of that run.")] = None,
    vocoder: Annotated[
        str | None, typer.Option(help="packaged, griffin_lim, or a vocoder file; packaged if there is one.")
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the text.")] = "en",
    dictionary: Annotated[
        Path | None,
        typer.Option(help="How words are said: lines of a word, a tab and words, pinyin or /phones/."),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.25, max=4.0, callback=console.a_number, help="2 speaks twice as fast.")
    ] = 1.0,
    pitch: Annotated[
        float, typer.Option(min=-24, max=24, callback=console.a_number, help="Shift in semitones.")
    ] = 0.0,
    list_voices: Annotated[
        bool, typer.Option("--voices", help="List the packaged voices, and stop.")
    ] = False,
    device: console.DeviceOption = "auto",
    as_json: console.JsonOption = False,
) -> None:
    """Say a text in a packaged voice, or in a cloned one.

    The sound carries an inaudible mark that says that it is synthetic; fedvoice detect finds it.

    Examples:

        fedvoice speak "Good morning."

        fedvoice speak "Good morning." --voice me.voice.safetensors --output morning.wav

        fedvoice speak - --voice bm_george --speed 0.9 < letter.txt
    """
    import sys

    from client.speaker import Speaker
    from shared_models.accelerator import Accelerator
    from shared_models.audio.mel import SAMPLE_RATE
    from shared_models.audio.reading import refuse_format, write_audio
    from shared_models.text.dictionary import Dictionary
    from shared_models.text.unspoken import left_out, unspoken

    if list_voices:
        _list_voices(as_json)
        return
    refuse_format(output)
    said = sys.stdin.read() if text == "-" else text
    own_words = Dictionary.read(dictionary) if dictionary is not None else None
    started = time.monotonic()
    speaker = Speaker.find(voice, base=base, arm=arm, vocoder=vocoder, device=device)
    speaker.warm_up(language)
    loading, on = time.monotonic() - started, str(Accelerator(speaker.device))
    wave, figures = _say(said, speaker, language, speed, pitch, own_words, quiet=as_json)
    write_audio(output, wave, SAMPLE_RATE)
    missing = unspoken(said, language, own_words)
    if missing:
        console.notices().print(f"warning: {left_out(missing)}", highlight=False, soft_wrap=True)
    if as_json:
        told = {"output": str(output), "device": on, "seconds_to_load": loading, **figures}
        console.print_json({**told, "left_out": list(missing)})
        return
    console.output().print(
        f"{output}: {figures['seconds']:.1f} s of speech, made in {figures['seconds_taken']:.1f} s "
        f"after {loading:.1f} s of loading ({on})",
        highlight=False,
        soft_wrap=True,
    )


def _say(
    text: str,
    speaker: Speaker,
    language: str,
    speed: float,
    pitch: float,
    dictionary: Dictionary | None,
    *,
    quiet: bool,
) -> tuple[Any, dict[str, float]]:
    """The wave, and how long it is, took, and took to its first piece."""
    import numpy as np

    from shared_models.audio.mel import SAMPLE_RATE
    from shared_models.text.unspoken import UnspokenWarning

    waves: list[Any] = []
    started, first = time.monotonic(), 0.0
    with warnings.catch_warnings(), console.steps_progress("speaking", quiet=quiet) as advance:
        warnings.simplefilter("ignore", UnspokenWarning)  # it is told in the end, in a line of its own
        stream = speaker.stream(
            text, language=language, speed=speed, pitch_shift=pitch, dictionary=dictionary
        )
        for spoken in stream:
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
