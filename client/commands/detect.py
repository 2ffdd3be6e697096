"""``fedvoice detect``: whether a recording is synthetic speech that FedVoice made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from shared_models import console


def detect(
    recording: Annotated[Path, typer.Argument(help="An audio file.")],
    as_json: console.JsonOption = False,
) -> None:
    """Look for the mark that all speech of FedVoice carries; exit 0 if it is found, 1 if not.

    A recording without the mark may be synthetic all the same: a change of speed by 5 % removes it, and other programs
    put in none, or another.

    Examples:

        fedvoice detect speech.wav

        fedvoice detect speech.mp3 --json
    """
    from shared_models.audio.reading import read_audio
    from shared_models.watermark.detection import detect as look

    found = look(*read_audio(recording))
    if as_json:
        console.print_json(
            {
                "recording": str(recording), "marked": found.marked, "score": found.score, "seconds": found.seconds,
                "seconds_marked": found.seconds_marked, "parts": [asdict(part) for part in found.parts],
            }
        )  # fmt: skip
    else:
        console.output().print(
            f"{recording}: marked as synthetic in {found.seconds_marked:.1f} of {found.seconds:.1f} s "
            f"(score {found.score:.3f})"
            if found.marked
            else f"{recording}: no mark found in {found.seconds:.1f} s (highest score {found.score:.3f})",
            soft_wrap=True, highlight=False, markup=False,
        )  # fmt: skip
    if not found.marked:
        raise typer.Exit(1)
