"""``fedvoice speak``: say a text in a cloned voice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from simulations.commands import console


def speak(
    text: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")],
    voice: Annotated[Path, typer.Option(help="A voice profile from `fedvoice clone`.")],
    output: Annotated[Path, typer.Option(help="Audio file to write: .wav, .flac or .ogg.")] = Path(
        "speech.wav"
    ),
    base: Annotated[
        Path | None, typer.Option(help="The run that the voice was cloned on, if it was moved.")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="Arm of that run.")] = None,
    language: Annotated[str, typer.Option(help="Language of the text.")] = "en",
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="2 speaks twice as fast.")] = 1.0,
    pitch: Annotated[float, typer.Option(min=-24, max=24, help="Shift in semitones.")] = 0.0,
    as_json: console.JsonOption = False,
) -> None:
    """Say a text in a cloned voice.

    Examples:

        fedvoice speak "Good morning." --voice me.voice.safetensors --output morning.wav

        fedvoice speak - --voice me.voice.safetensors --speed 0.9 < letter.txt
    """
    import sys

    from client.base_model import find_base, load_base
    from client.profile import load_profile, profile_base
    from client.speaking import speak as synthesise
    from shared_models.audio.mel import SAMPLE_RATE
    from shared_models.audio.reading import write_audio
    from shared_models.vocoders import build_vocoder

    loaded = load_base(base, arm) if base is not None else find_base(profile_base(voice))
    profile = load_profile(voice, base=loaded.hash)
    said = sys.stdin.read() if text == "-" else text
    started = time.monotonic()
    with console.steps_progress("speaking", quiet=as_json) as advance:
        wave = synthesise(
            loaded.model.model, build_vocoder("griffin_lim"), profile.condition, said,
            language=language, speed=speed, pitch_shift=pitch, on_piece=advance,
        )  # fmt: skip
    taken = time.monotonic() - started
    write_audio(output, wave, SAMPLE_RATE)
    seconds = len(wave) / SAMPLE_RATE
    if as_json:
        figures = {"output": str(output), "seconds": seconds, "real_time_factor": taken / seconds}
        console.print_json(figures)
        return
    console.output().print(f"{output}: {seconds:.1f} s of speech, made in {taken:.1f} s", highlight=False)
