"""``fedvoice bench leakage``: how much of what is said can be read in a speaker embedding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shared_models.console import JsonOption, output, print_json, stages
from simulations.environment import describe_environment

if TYPE_CHECKING:
    from simulations.benchmarks.leakage import Leakage


def leakage(
    base: Annotated[
        str,
        typer.Option(help="A run folder, checkpoint or published model; 'packaged' is the one that ships."),
    ] = "packaged",
    corpus: Annotated[
        str, typer.Option(help="A folder or CSV with unseen (test) speakers, or 'embedded'.")
    ] = "embedded",
    speakers: Annotated[int | None, typer.Option(min=2, help="At most so many of them.")] = None,
    utterances: Annotated[int, typer.Option(min=4, help="Of each, at most so many.")] = 40,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compute features.")] = 1,
    json_output: JsonOption = False,
) -> None:
    """Read phonemes in what a base's sources hear of unseen speakers' utterances, by a linear probe.

    The figure is the share of the variance of an utterance's phonemes, within a speaker and across texts, that the
    probe explains: 0 is nothing. Recordings' mels stand beside it, which hold the content, and embeddings of other
    utterances of the speaker, which do not.

    Examples:

        fedvoice bench leakage

        fedvoice bench leakage --base runs/disentangled --corpus speech/ --json
    """
    from client.learning.cached_features import CachedFeatures
    from shared_models.base_model import load_base, packaged_base
    from simulations.benchmarks.leakage import measure_leakage
    from simulations.preparation import prepare_unseen

    loaded = packaged_base() if base == "packaged" else load_base(Path(base))
    asked = {
        "corpus": {"path": corpus, "test_speakers": speakers},
        "engine.workers": workers,
        "cloning.support": 3,
    }
    recipe = loaded.recipe.override(asked)
    with stages(quiet=json_output) as stage:
        data = prepare_unseen(recipe, progress=stage("features"))
        heard = {
            name: CachedFeatures(own[:utterances], data.cache, recipe.features)
            for name, own in data.test.items()
        }
        found = measure_leakage(loaded.model.model, heard, stage("listening"))
    if json_output:
        print_json({**describe_environment(), "base": base, "corpus": Path(corpus).name, **found.as_json()})
        return
    _show(found)


def _show(found: Leakage) -> None:
    table = Table("phonemes are read in", "share explained", "95 %", title="Content in the embedding")
    rows = (
        ("the embedding", found.embedding),
        ("mean and deviation of the mel", found.mel),
        ("another utterance's embedding", found.others),
    )
    for name, share in rows:
        table.add_row(name, f"{share.mean:.3f}", f"{share.low:.3f} to {share.high:.3f}")
    output().print(table)
    if found.mel.low <= 0:
        output().print(
            "The probe reads nothing in the mels either, which hold the content: it needs more utterances or speakers",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    output().print(
        f"{found.utterances} utterances of {found.speakers} speakers, of which {found.identified:.0%} are nearest to "
        f"their own speaker (chance {1 / found.speakers:.0%})",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
