"""``fedvoice embed``: one speaker embedding of a person's recordings, on this machine, released with an epsilon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from shared_models import console


def embed(
    recordings: Annotated[Path, typer.Argument(help="Folder, CSV or file of one person's recordings.")],
    encoder: Annotated[str, typer.Option(help="d_vector, x_vector, ecapa or mel_style.")] = "d_vector",
    output: Annotated[Path, typer.Option(help="Embedding file to write.")] = Path("me.embedding.safetensors"),
    weights: Annotated[
        Path | None,
        typer.Option(help="The encoder's weights; Resemblyzer's for d_vector, where that is installed."),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="The model whose mel_style is meant; the packaged base by default.")
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(min=0.01, help="Release it by the analytic Gaussian mechanism at this epsilon."),
    ] = None,
    delta: Annotated[float, typer.Option(help="The delta of that guarantee.")] = 1e-5,
    unit: Annotated[str, typer.Option(help="What is protected: utterance, or person.")] = "utterance",
    clip: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Largest norm of an utterance's embedding; the encoder's own by default."
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="What all that is private on this computer may come to for this unit, this release with it; "
            "--epsilon by default.",
        ),
    ] = None,
    device: console.DeviceOption = "auto",
    as_json: console.JsonOption = False,
) -> None:
    """Make one embedding of a person: one an utterance, clipped in norm, and their mean.

    With --epsilon noise is added, the cost is entered in your ledger first, and the file may be given away or carried
    by a voice (fedvoice clone --embedding). Without, the file stays on this device.

    Examples:

        fedvoice embed my-recordings/ --encoder d_vector --epsilon 4

        fedvoice embed my-recordings/ --encoder ecapa --weights ecapa.safetensors --epsilon 4 --unit person

        fedvoice embed my-recordings/ --encoder mel_style --base runs/real
    """
    from client.embed import embed_speaker
    from client.home.ledger import Unit
    from client.speaker_embedding import save_embedding

    with console.steps_progress("listening", quiet=as_json) as progress:
        made = embed_speaker(
            recordings, encoder, weights=weights, base=base, epsilon=epsilon, delta=delta, unit=cast(Unit, unit),
            clip=clip, budget=budget, device=device, progress=progress,
        )  # fmt: skip
    save_embedding(output, made.embedding)
    figures: dict[str, Any] = {
        "output": str(output),
        "encoder": encoder,
        "numbers": len(made.embedding.vector),
        "privacy": made.embedding.privacy,
        "utterances": made.utterances,
        "left_out": list(made.left_out),
        "for_your_eyes": ["utterances", "left_out", "ledger"],
        "ledger": None
        if made.ledger is None
        else {"epsilon": made.ledger.spent_protected(cast(Unit, unit)), "delta": delta, "unit": unit},
    }
    if as_json:
        console.print_json(figures)
        return
    _show(figures)


def _show(figures: dict[str, Any]) -> None:
    from shared_models.shown_epsilon import epsilon_shown

    out, privacy, ledger = console.output(), figures["privacy"], figures["ledger"]
    for problem in figures["left_out"]:
        out.print(console.styled("left out:", "yellow"), problem, soft_wrap=True)
    out.print(
        f"{figures['output']}: {figures['numbers']} numbers of {figures['encoder']}, the mean over "
        f"{figures['utterances']} utterances; their number is for your eyes",
        soft_wrap=True,
    )
    if privacy is None:
        out.print(
            "privacy: none; this file stays on this device, since it tells of your voice without noise. Release one "
            "with --epsilon",
            soft_wrap=True,
        )
        return
    out.print(
        f"privacy: epsilon {privacy['epsilon']:g} at delta {privacy['delta']:g}, for each {privacy['unit']}; "
        f"{privacy['mechanism']}",
        soft_wrap=True,
    )
    out.print(
        f"your ledger: epsilon {epsilon_shown(ledger['epsilon'])} at delta {ledger['delta']:g} for each "
        f"{ledger['unit']}, composed over all that is private on this computer",
        soft_wrap=True,
    )
