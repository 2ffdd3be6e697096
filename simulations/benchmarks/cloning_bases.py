"""Which bases the cloning benchmark compares, what they are called, and which voices speak with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from client.profile import profile_base
from shared_models.errors import CheckpointError, RecipeError
from shared_models.pretrained import DEFAULT_VOICE, default_vocoder, packaged_voice
from simulations.benchmarks.cloning_work import COPIED, PACKAGED, REAL, Clones, open_base


def find_bases(
    paths: Sequence[str],
    voices: Sequence[str] | None = None,
    vocoders: Sequence[str] | None = None,
    *,
    oracle: bool = False,
) -> list[Clones]:
    """The bases to judge: ``packaged``, or whatever :func:`load_base` reads.

    ``voices`` are names or profiles, by default the default voice; each speaks with the base that it was cloned on.
    ``vocoders`` has one for all bases or one for each; ``oracle`` is :attr:`Clones.oracle`.
    Raises :class:`RecipeError` for wishes that do not fit together and :class:`CheckpointError` for what cannot be
    read.
    """
    chosen = list(vocoders or [default_vocoder()])
    if len(chosen) not in (1, len(paths)):
        raise RecipeError(
            f"{len(chosen)} vocoders for {len(paths)} bases: give one --vocoder, or one for each --base"
        )
    profiles = {Path(v).name.split(".")[0]: _profile(v) for v in voices or [DEFAULT_VOICE]}
    bound = {name: profile_base(path) for name, path in profiles.items()}
    found = []
    for label, path, vocoder in zip(
        labels_of(paths), paths, chosen * (len(paths) // len(chosen)), strict=True
    ):
        where = None if path == PACKAGED else Path(path)
        base = open_base(where)
        own = tuple((name, profiles[name]) for name, hashed in bound.items() if hashed == base.hash)
        found.append(Clones(label, where, base.hash, base.recipe, vocoder, own, oracle=oracle))
    mute = [name for name, hashed in bound.items() if hashed not in {base.base for base in found}]
    if voices and mute:
        raise CheckpointError(
            f"the voice '{mute[0]}' was cloned on none of these bases: leave it out, or name its base with --base"
        )
    return found


def labels_of(paths: Sequence[str]) -> list[str]:
    """What bases and vocoders are called: a file's name without its suffix, unless two share it."""
    stems = [Path(path).stem or path for path in paths]
    labels = [stem if stems.count(stem) == 1 else path for stem, path in zip(stems, paths, strict=True)]
    if len(set(labels)) < len(labels) or {REAL, COPIED} & set(labels):
        raise RecipeError(
            f"each base may be named once, and none may be called '{REAL}' or '{COPIED}': {', '.join(paths)}"
        )
    return labels


def _profile(voice: str) -> Path:
    return Path(voice) if Path(voice).suffix or Path(voice).exists() else packaged_voice(voice)
