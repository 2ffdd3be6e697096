"""The card of a published model: what it is, how it came about, what it costs a person, what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

from shared_models.config import Recipe
from shared_models.published_model import WEIGHTS
from shared_models.shown_text import shown


@dataclass(frozen=True, slots=True)
class Described:
    """The facts of a card."""

    federation: str
    run: str
    round: int
    recipe: Recipe
    population: int
    numbers: int
    base: str
    privacy: str
    figures: str | None
    """What an evaluation found, in Markdown; None if there was none."""
    version: str


def card(model: Described) -> str:
    """The card as Markdown."""
    federation, privacy = model.recipe.federation, model.recipe.privacy
    noise = "none" if privacy.mode == "none" else f"{privacy.mode}, clipping norm {privacy.clipping_norm:g}"
    return f"""# {one_line(model.federation)}, round {model.round}

The shared part of a text-to-speech model, trained by a FedVoice federation. It speaks in nobody's voice: clone one on
it with `fedvoice clone RECORDINGS --base THIS_FOLDER`.

| | |
| --- | --- |
| federation, run | {one_line(model.federation)}, `{one_line(model.run)}` |
| recipe | {one_line(model.recipe.name)} |
| rounds | {model.round} of {federation.rounds} |
| cohort | {federation.cohort} expected a round, {federation.sampling} sampling, of a population of {model.population} |
| algorithm | {federation.algorithm}, server optimizer {federation.server_optimizer}, rate {federation.server_lr:g} |
| numbers | {model.numbers:,} float32 in `{WEIGHTS}` |
| base | `{model.base}` |
| written by | FedVoice {model.version} |

## Privacy

{_sentence(model.privacy)}

Noise: {noise}. The recordings, the texts and each speaker's own numbers never left the devices; this folder holds none
of them, nor who took part. What a device released elsewhere, it counts in its own ledger.

## Quality

{model.figures or "Not evaluated: nobody measured these weights on speakers that they were not trained on."}

## Use

A clone imitates a person. Make one of your own voice, or with the consent of whoever it is.
"""


def one_line(text: str) -> str:
    """A name for a table's cell: printable, on one line, without what would end the cell or the code."""
    return " ".join(shown(text).replace("|", "/").replace("`", "'").split())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
