"""``fedvoice clone``: a voice from a few utterances, on this machine, without any server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from shared_models import console
from shared_models.file_names import file_name_of


def clone(
    recordings: Annotated[
        Path, typer.Argument(help="Folder or CSV with five or more utterances and their text.")
    ],
    base: Annotated[
        Path | None, typer.Option(help="Run folder or checkpoint to clone on; the packaged base by default.")
    ] = None,
    arm: Annotated[
        str | None, typer.Option(help="Arm of the run; federated_dp or federated by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Profile file; NAME.voice.safetensors by default.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the voice; the folder's by default.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Adaptation steps; the base recipe's by default.")
    ] = None,
    zero_shot: Annotated[bool, typer.Option("--zero-shot", help="Only listen; train nothing.")] = False,
    epsilon: Annotated[
        float | None,
        typer.Option(
            callback=console.a_number,
            min=0.01,
            help="Adapt by DP-SGD: this profile costs an utterance at most this epsilon.",
        ),
    ] = None,
    delta: Annotated[
        float, typer.Option(callback=console.a_number, help="The delta of that guarantee.")
    ] = 1e-3,
    budget: Annotated[
        float | None,
        typer.Option(
            callback=console.a_number,
            min=0.01,
            help="What all private cloning and joining on this computer may come to, this profile with it; "
            "--epsilon by default.",
        ),
    ] = None,
    embedding: Annotated[
        Path | None,
        typer.Option(help="An embedding that `fedvoice embed --epsilon` released, for the profile to carry."),
    ] = None,
    adaptation: Annotated[
        str | None,
        typer.Option(
            help="What is trained, as speaker.personal in a recipe: vectors, lora, adapters, whole, vectors+lora, ...; "
            "the base recipe's by default."
        ),
    ] = None,
    device: console.DeviceOption = "auto",
    as_json: console.JsonOption = False,
) -> None:
    """Clone a voice: writes a profile, bound to its base, and says what cloning changed.

    On the packaged base a profile has 170,000 numbers (670 kB), and 2,436 with --zero-shot or --epsilon.

    A profile may be given away. What it costs is entered in your ledger first, with --epsilon as what DP-SGD spends,
    and otherwise as a release without protection. The figures that are shown are for your eyes: they are computed
    from the recordings without noise.

    Examples:

        fedvoice clone my-recordings/ --output me.voice.safetensors

        fedvoice clone my-recordings/ --base runs/default-20261121-140000

        fedvoice clone my-recordings/ --base runs/real --zero-shot

        fedvoice clone my-recordings/ --base runs/real --epsilon 8

        fedvoice clone my-recordings/ --epsilon 4 --budget 12

        fedvoice clone my-recordings/ --adaptation vectors+lora
    """
    from client.voice_from_recordings import clone_voice

    with console.stages(quiet=as_json) as stage:
        made = clone_voice(
            recordings, base=base, arm=arm, name=name, steps=steps, zero_shot=zero_shot, epsilon=epsilon, delta=delta,
            budget=budget, embedding=embedding, adaptation=adaptation, device=device, stage=stage,
        )  # fmt: skip
    if made.notice is not None:
        console.notices().print(made.notice, soft_wrap=True, highlight=False, markup=False)
    path = output or Path(f"{file_name_of(made.name)}.voice.safetensors")
    made.save(path)
    figures = {
        "name": made.name,
        "utterances": len(made.support),
        "left_out": made.left_out,
        "notes": made.notes,
    }
    figures |= made.before_and_after()
    figures |= {
        "profile": str(path),
        "numbers": made.profile.size,
        "bytes": path.stat().st_size,
        "personal": made.personal,
        "privacy": made.voice.privacy,
        "ledger": {
            "epsilon": made.ledger.spent_protected(),
            "delta": delta,
            "unprotected_releases": made.ledger.unprotected(),
        },
    }
    figures["for_your_eyes"] = _for_your_eyes(figures)
    if as_json:
        console.print_json(figures)
        return
    _show(figures)


def _for_your_eyes(figures: dict[str, Any]) -> list[str]:
    """The figures that no epsilon covers: whoever is given them learns of the recordings without noise."""
    return [
        key for key in figures if key not in ("name", "profile", "numbers", "bytes", "personal", "privacy")
    ]


def _show(figures: dict[str, Any]) -> None:
    table = Table("", "before", "after", title=f"{figures['name']}: {figures['utterances']} utterances")
    for label, key, form in (("mel error (L1, natural log)", "mel", ".3f"), ("pitch error", "pitch", ".3f"),
                             ("speaker similarity", "similarity", ".3f")):  # fmt: skip
        if f"{key}_before" in figures:
            table.add_row(label, f"{figures[f'{key}_before']:{form}}", f"{figures[f'{key}_after']:{form}}")
    out = console.output()
    out.print(table)
    for problem in figures["left_out"]:
        out.print(console.styled("left out:", "yellow"), problem, soft_wrap=True)
    for note in figures["notes"]:
        out.print(console.styled("note:", "yellow"), note, soft_wrap=True)
    for sentence in (
        _guarantee(figures["privacy"]),
        _history(figures["privacy"], figures["ledger"]),
        _NOT_PAID,
    ):
        if sentence:
            out.print(sentence, soft_wrap=True)
    out.print(
        f"{figures['profile']}: {figures['numbers']} numbers, {figures['bytes']} bytes; "
        f"{_trained(figures['personal'])}",
        soft_wrap=True,
    )


def _trained(personal: dict[str, Any]) -> str:
    if not personal["numbers"]:
        return "nothing was trained: the voice is what was heard"
    return f"trained: {personal['adaptation']}, {personal['numbers']} numbers, {personal['bytes']} bytes"


_NOT_PAID = (
    "the table and your ledger are for your eyes: they come from the recordings without noise, no epsilon covers "
    "them, and the profile does not hold them"
)


def _guarantee(privacy: dict[str, Any] | None) -> str:
    if privacy is None:
        return "privacy: none; the profile may reveal what it was cloned from, so treat it like a recording"
    return (
        f"privacy: this profile costs epsilon {privacy['epsilon']:g} at most, at delta {privacy['delta']:g}, for each "
        f"{privacy['unit']}; {privacy['mechanism']}"
    )


def _history(privacy: dict[str, Any] | None, ledger: dict[str, Any]) -> str:
    """What the owner's ledger holds; only where nothing unprotected stands in it does it speak of everything."""
    from shared_models.shown_epsilon import epsilon_shown

    unprotected, cost = (
        ledger["unprotected_releases"],
        f"epsilon {epsilon_shown(ledger['epsilon'])} at delta {ledger['delta']:g}",
    )
    if unprotected:
        releases = f"{unprotected} release" + ("s" if unprotected > 1 else "")
        beside = f"; what was protected comes to {cost} beside that" if privacy else ""
        return (
            f"your ledger: {releases} without protection on this computer, and no epsilon covers the recordings that "
            f"went into {'them' if unprotected > 1 else 'it'}{beside}"
        )
    return f"your ledger: {cost}, composed over all cloning and joining on this computer"
