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
        typer.Option(min=0.01, help="Adapt by DP-SGD: this profile costs an utterance at most this epsilon."),
    ] = None,
    delta: Annotated[float, typer.Option(help="The delta of that guarantee.")] = 1e-3,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="What all private cloning and joining on this computer may come to, this profile with it; "
            "--epsilon by default.",
        ),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Clone a voice: writes a profile of at most 5,000 numbers, bound to its base, and says what cloning changed.

    A profile may be given away. What it costs is entered in your ledger first, with --epsilon as what DP-SGD spends,
    and otherwise as a release without protection. The figures that are shown are for your eyes: they are computed
    from the recordings without noise.

    Examples:

        fedvoice clone my-recordings/ --output me.voice.safetensors

        fedvoice clone my-recordings/ --base runs/default-20261121-140000

        fedvoice clone my-recordings/ --base runs/real --zero-shot

        fedvoice clone my-recordings/ --base runs/real --epsilon 8

        fedvoice clone my-recordings/ --epsilon 4 --budget 12
    """
    from client.before_and_after import compare_voices
    from client.cloning import clone as clone_voice
    from client.enrollment import enroll
    from client.kept_bases import keep_base
    from client.owner_ledger import open_owner_ledger
    from client.profile import VoiceProfile, save_profile
    from shared_models.base_model import load_base, packaged_base
    from shared_models.errors import PrivacyError

    if epsilon is not None and (zero_shot or steps == 0):
        raise PrivacyError(
            "zero-shot cloning listens to the recordings without noise and has no epsilon: leave --epsilon, or adapt "
            "with --steps of 1 or more"
        )
    if budget is not None and epsilon is None:
        raise PrivacyError("--budget is for cloning by DP-SGD: give --epsilon with it")
    loaded = packaged_base() if base is None else load_base(base, arm)
    changes: dict[str, Any] = {} if steps is None else {"cloning.steps": steps}
    if epsilon is not None:
        changes |= {
            "personal_privacy.enabled": True,
            "personal_privacy.epsilon": epsilon,
            "personal_privacy.noise_multiplier": None,
            "personal_privacy.delta": delta,
        }
    recipe = loaded.recipe.override(changes)
    title = name or recordings.resolve().stem
    with console.steps_progress("listening", quiet=as_json) as listened:
        support, problems = enroll(recordings, recipe, listened)
    if not zero_shot and not _can_adapt(loaded.model, support):
        zero_shot = _only_listen(epsilon)
    if zero_shot:
        recipe = recipe.override({"cloning.steps": 0, "personal_privacy.enabled": False})
    ledger = open_owner_ledger(budget or epsilon, delta)
    with console.steps_progress("adapting", quiet=as_json) as adapted:
        voice = clone_voice(loaded.model, support, recipe, ledger, on_step=adapted)
    if base is not None:
        keep_base(loaded)
    profile = VoiceProfile(voice.voice, loaded.hash, title, voice.privacy)
    path = output or Path(f"{file_name_of(title)}.voice.safetensors")
    save_profile(path, profile)
    figures = {"name": title, "utterances": len(support), "left_out": problems}
    figures |= compare_voices(loaded.model, support, voice.voice)
    figures |= {
        "profile": str(path),
        "numbers": profile.size,
        "bytes": path.stat().st_size,
        "privacy": voice.privacy,
        "ledger": {
            "epsilon": ledger.spent_protected(), "delta": delta, "unprotected_releases": ledger.unprotected()
        },
    }  # fmt: skip
    figures["for_your_eyes"] = _for_your_eyes(figures)
    if as_json:
        console.print_json(figures)
        return
    _show(figures)


def _can_adapt(model: Any, support: Any) -> bool:
    """Adapting needs to know which phoneme sounds when: from the recordings, or from the model's aligner."""
    return model.model.aligner is not None or all(heard.durations is not None for heard in support)


def _only_listen(epsilon: float | None) -> bool:
    """Say that the voice is listened to and not adapted; raises CorpusError where that would break a promise."""
    from shared_models.errors import CorpusError

    remedy = (
        "put a .phones or .TextGrid file beside each recording, or clone on a base that aligns, with --base"
    )
    if epsilon is not None:
        raise CorpusError(
            f"this base has no aligner, and adapting with an epsilon needs alignments: {remedy}"
        )
    console.notices().print(
        f"this base has no aligner, so it listens and does not adapt (zero-shot); to adapt, {remedy}",
        soft_wrap=True, highlight=False, markup=False,
    )  # fmt: skip
    return True


def _for_your_eyes(figures: dict[str, Any]) -> list[str]:
    """The figures that no epsilon covers: whoever is given them learns of the recordings without noise."""
    return [key for key in figures if key not in ("name", "profile", "numbers", "bytes", "privacy")]


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
    for sentence in (
        _guarantee(figures["privacy"]),
        _history(figures["privacy"], figures["ledger"]),
        _NOT_PAID,
    ):
        if sentence:
            out.print(sentence, soft_wrap=True)
    out.print(f"{figures['profile']}: {figures['numbers']} numbers, {figures['bytes']} bytes", soft_wrap=True)


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
