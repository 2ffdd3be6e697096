"""``fedvoice evaluate matrix``: every voice recipe at one budget from one start, on the same unseen speakers."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from shared_models import console
from simulations.commands.simulation_bars import SimulationBars


def matrix(
    output: Annotated[
        Path, typer.Option(help="Folder for everything: the same call goes on where it was interrupted.")
    ],
    corpus: Annotated[
        str, typer.Option(help="Folder or CSV with train speakers and unseen ones, or 'embedded'.")
    ] = "embedded",
    recipes: Annotated[
        str | None, typer.Option(help="Shipped recipes, separated by commas; all voice recipes by default.")
    ] = None,
    budget: Annotated[
        str, typer.Option(help="What each recipe may train: gradient steps, as 300, or seconds, as 90s.")
    ] = "300",
    start: Annotated[
        str, typer.Option(help="Public base that training begins from: 'packaged', a run, or a checkpoint.")
    ] = "packaged",
    speakers: Annotated[int | None, typer.Option(min=2, help="At most so many unseen speakers.")] = None,
    support: Annotated[int, typer.Option(min=2, help="Recordings to clone a speaker from.")] = 5,
    sentences: Annotated[int, typer.Option(min=1, help="Texts that each clone speaks.")] = 3,
    steps: Annotated[
        str, typer.Option(help="Adaptation steps after which clones speak, beside zero-shot.")
    ] = "5,20",
    train_speakers: Annotated[int | None, typer.Option(min=2, help="At most so many train speakers.")] = 24,
    utterances: Annotated[int | None, typer.Option(min=2, help="Of each, at most so many utterances.")] = 12,
    encoder_steps: Annotated[
        int,
        typer.Option(
            min=0, help="Training of each speaker encoder, for their equal error rates; 0 leaves them out."
        ),
    ] = 200,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one field of every recipe, as client.batch_size=8; repeatable."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train and judge.")] = 1,
    cache: Annotated[Path | None, typer.Option(help="Where features are kept between runs.")] = None,
    device: console.DeviceOption = "cpu",
    as_json: console.JsonOption = False,
) -> None:
    """Train every voice recipe alike, clone the same unseen speakers with each, and say how they compare.

    Writes results.json, table.md and matrix.png, after every recipe anew. A recipe that fails is named with its reason.
    The orderings that the literature reports are each said to be seen or not seen, with intervals over speakers.

    Examples:

        fedvoice evaluate matrix --corpus speech/ --output runs/matrix

        fedvoice evaluate matrix --corpus speech/ --output runs/few --recipes adaspeech,whole_model --budget 90s
    """
    from shared_models.config import parse_override
    from simulations.matrix.matrix import Wishes, make_matrix
    from simulations.matrix.recipes import Budget, Common, voice_recipes
    from simulations.preparation import default_cache

    named = voice_recipes() if recipes is None else [name.strip() for name in recipes.split(",")]
    common = Common(
        corpus if corpus == "embedded" else str(Path(corpus).resolve()), Budget.of(budget), _start(start),
        train_speakers, utterances, workers, device, dict(parse_override(text) for text in override or []),
    )  # fmt: skip
    counts = tuple(sorted(set(console.whole_numbers("--steps", steps, 1, "5,20"))))
    wishes = Wishes(named, common, speakers, support, sentences, counts, encoder_steps)
    with console.resumable(f"fedvoice {shlex.join(sys.argv[1:])}"), SimulationBars(as_json) as bars:
        found = make_matrix(wishes, output, cache or default_cache(), bars)
    if as_json:
        console.print_json(found.as_json())
        return
    _show(output, found.failed)


def _start(start: str) -> str:
    return start if start == "packaged" else str(Path(start).resolve())


def _show(output: Path, failed: dict[str, str]) -> None:
    out = console.output()
    out.print((output / "table.md").read_text(encoding="utf-8"), soft_wrap=True, highlight=False)
    for name, reason in failed.items():
        console.notices().print(console.styled(f"failed: {name}:", "yellow"), reason, soft_wrap=True)
    out.print(f"files: {output}", soft_wrap=True, highlight=False)
