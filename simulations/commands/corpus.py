"""``fedvoice corpus``: look at a corpus, make a synthetic one, or give its speakers devices."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from shared_models.console import JsonOption, output, print_json, steps_progress, styled
from shared_models.errors import CorpusError
from shared_models.shown_text import shown

if TYPE_CHECKING:
    from shared_models.utterance import Utterance
    from simulations.corpora.inspect import Finding, Inspection

app = typer.Typer(
    no_args_is_help=True, help="Look at a corpus, make a synthetic one, or give its speakers devices."
)

SHOWN = 20
"""Findings that the table shows; --all and --json show every one."""

PathArgument = Annotated[str, typer.Argument(help="'embedded', a folder, or a CSV file.")]
LayoutOption = Annotated[
    str,
    typer.Option(help="csv, folder, ljspeech, vctk, libritts, aishell3, embedded, or auto."),
]


@app.command(epilog="Example: fedvoice corpus inspect recordings/ --max-seconds 20 --json")
def inspect(
    path: PathArgument = "embedded",
    layout: LayoutOption = "auto",
    min_seconds: Annotated[float, typer.Option(help="Shorter recordings are left out.", min=0.0)] = 0.8,
    max_seconds: Annotated[float, typer.Option(help="Longer recordings are left out.", min=0.0)] = 14.0,
    every: Annotated[bool, typer.Option("--all", help="Show every problem.")] = False,
    json: JsonOption = False,
) -> None:
    """Read every recording and print speakers, hours, rates, and what is wrong with which file.

    The exit code is 1 where a run could use none of it.
    """
    from simulations.corpora.inspect import inspect as look

    config = _config(path, layout, min_seconds=min_seconds, max_seconds=max_seconds)
    with steps_progress("reading", quiet=json) as progress:
        found = look(path, config, progress)
    if json:
        print_json(_figures(found))
    else:
        _show(found, len(found.findings) if every else SHOWN)
    if not found.usable:
        raise typer.Exit(1)


@app.command("list", epilog="Example: fedvoice corpus list embedded --json")
def list_speakers(
    path: PathArgument = "embedded", layout: LayoutOption = "auto", json: JsonOption = False
) -> None:
    """List the speakers that a run would use, with split, utterances and minutes."""
    from simulations.corpora import open_corpus

    corpus = open_corpus(_config(path, layout))
    speakers = [
        {"speaker": s, "split": u[0].split, "utterances": len(u), "minutes": _minutes(u)}
        for split in ("train", "test")
        for s, u in corpus.speakers(split).items()
    ]
    if json:
        print_json({"path": path, "speakers": speakers})
        return
    table = Table("speaker", "split", "utterances", "minutes", title=shown(path))
    for row in speakers:
        table.add_row(shown(row["speaker"]), *(str(row[k]) for k in ("split", "utterances", "minutes")))
    output().print(table)


@app.command(epilog="Example: fedvoice corpus espeak synthetic/ --speakers 20 --utterances 30")
def espeak(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    speakers: Annotated[int, typer.Option(help="How many speakers.", min=1)] = 50,
    utterances: Annotated[int, typer.Option(help="How many utterances each.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Other sentences and pitches for another seed.")] = 0,
    wav: Annotated[bool, typer.Option("--wav", help="Write WAV, not FLAC.")] = False,
    json: JsonOption = False,
) -> None:
    """Make synthetic speakers with exact phoneme times (needs the extra 'espeak')."""
    from simulations.corpora.espeak import make_corpus

    with steps_progress("speaking", quiet=json) as progress:
        table = make_corpus(
            out, speakers, utterances, seed=seed, suffix=".wav" if wav else ".flac", progress=progress
        )
    if json:
        print_json({"path": str(table), "speakers": speakers, "utterances": speakers * utterances})
    else:
        output().print(
            f"{speakers} speakers, {speakers * utterances} utterances: {table}",
            soft_wrap=True,
            highlight=False,
        )


@app.command(epilog="Example: fedvoice corpus join voices/ recordings/ --output both.csv")
def join(
    paths: Annotated[list[str], typer.Argument(help="'embedded', folders, or CSV files.")],
    table: Annotated[Path, typer.Option("--output", help="The CSV to write; audio stays where it is.")],
    alignments: Annotated[Path | None, typer.Option(help="A folder of <utterance_id>.phones files.")] = None,
    max_seconds: Annotated[float, typer.Option(help="Longer recordings are left out.", min=0.0)] = 14.0,
    json: JsonOption = False,
) -> None:
    """Join corpora into one table, so that a recipe can train on all of them."""
    from simulations.corpora.join import join_corpora

    configs = [_config(path, "auto", max_seconds=max_seconds) for path in paths]
    utterances = join_corpora(configs, table, alignments)
    if json:
        print_json({"path": str(table), "utterances": utterances})
        return
    output().print(f"{utterances} utterances: {table}", soft_wrap=True, highlight=False)


@app.command(epilog="Example: fedvoice corpus devices recordings/ --output runs/devices/")
def devices(
    path: PathArgument,
    folder: Annotated[Path, typer.Option("--output", help="Where the devices' homes go.")],
    recipe: Annotated[
        str, typer.Option(help="Its features and limits hold; those on speakers for its own corpus alone.")
    ] = "default",
    cache: Annotated[Path | None, typer.Option(help="Where features are kept between runs.")] = None,
    json: JsonOption = False,
) -> None:
    """Give every train speaker a device's home, as Flower's own `flwr run .` needs them."""
    from shared_models.recipes import find_recipe
    from simulations.preparation import make_devices, prepare

    chosen = find_recipe(recipe)
    place = path if path == "embedded" else str(Path(path).resolve())
    own = place == chosen.corpus.path or Path(place) == Path(chosen.corpus.path).resolve()
    # Which speakers, and how many, the recipe says of its own corpus alone.
    kept = None if own else {"min_seconds", "max_seconds"}
    limits = chosen.corpus.model_dump(include=kept, exclude={"path", "layout"})
    config = _config(place, "auto", **limits)
    with steps_progress("features", quiet=json) as progress:
        data = prepare(chosen.model_copy(update={"corpus": config}), cache, progress)
    root = make_devices(folder.resolve(), data.train, data.cache)
    if len(homes := list(root.glob("*/recordings.json"))) != len(data.train):
        raise CorpusError(
            f"{folder} holds {len(homes)} devices where {path} has {len(data.train)} train speakers: name an "
            "empty folder"
        )
    if json:
        print_json({"devices": str(root), "clients": len(data.train), "aligner": data.recipe.aligner.learn})
        return
    output().print(f"{len(data.train)} devices: {root}", soft_wrap=True, highlight=False)
    command = _flower_command(len(data.train), root, recipe)
    output().print(command, soft_wrap=True, highlight=False)


def _flower_command(clients: int, root: Path, recipe: str) -> str:
    """The line that federates the devices on Flower's own engine. It resolves no path, so all are absolute."""
    from shared_models import recipes

    named = Path(recipe) if recipe.endswith(".toml") else Path(recipes.__file__).parent / f"{recipe}.toml"
    config = (
        f'clients={clients} devices="{root}" output="{root.parent / "federation"}" recipe="{named.resolve()}"'
    )
    federation = f"num-supernodes={clients} client-resources-num-cpus=1"
    return f"flwr run . --stream --federation-config '{federation}' --run-config '{config}'"


def _config(path: str, layout: str, **limits: Any) -> Any:
    from pydantic import ValidationError

    from shared_models.config import CorpusConfig

    try:
        return CorpusConfig.model_validate({"path": path, "layout": layout, **limits})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise CorpusError(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}; see --help") from error


def _figures(found: Inspection) -> dict[str, Any]:
    return {
        "path": str(found.root),
        "speakers": len({u.speaker_id for u in found.usable}),
        "utterances": len(found.usable),
        "hours": round(found.hours, 4),
        "sample_rates": found.rates,
        "splits": {split: _of_split(found, split) for split in ("train", "test")},
        "left_out": _left_out(found),
        "problems": [
            {"path": str(f.path), "kind": f.kind, "detail": f.detail, "left_out": f.left_out}
            for f in found.findings
        ],
    }


def _left_out(found: Inspection) -> int:
    """Recordings, and lines of tables that name none."""
    return len({(f.path, f.detail if f.kind == "lost row" else "") for f in found.findings if f.left_out})


def _of_split(found: Inspection, split: str) -> dict[str, Any]:
    utterances = [u for u in found.usable if u.split == split]
    return {
        "speakers": len({u.speaker_id for u in utterances}),
        "utterances": len(utterances),
        "hours": round(sum(u.seconds or 0.0 for u in utterances) / 3600, 4),
    }


def _show(found: Inspection, most: int) -> None:
    screen = output()
    table = Table("split", "speakers", "utterances", "hours", title=shown(found.root))
    for split in ("train", "test"):
        figures = _of_split(found, split)
        table.add_row(split, str(figures["speakers"]), str(figures["utterances"]), f"{figures['hours']:.2f}")
    screen.print(table)
    rates = ", ".join(f"{rate} Hz ({n} files)" for rate, n in found.rates.items())
    screen.print(f"sample rates: {rates or 'none'}")
    if not found.usable:
        screen.print(styled("nothing here can be used", "red"))
    if not found.findings:
        screen.print("no problems")
        return
    counts = Counter(f.kind for f in found.findings)
    screen.print("problems: " + ", ".join(f"{kind} {n}" for kind, n in counts.most_common()))
    screen.print(_problems(found.findings[:most], found.root))
    if len(found.findings) > most:
        screen.print(f"... and {len(found.findings) - most} more: --all shows them")


def _problems(findings: tuple[Finding, ...], root: Path) -> Table:
    table = Table("file", "problem", "detail", "in a run")
    for finding in findings:
        inside = finding.path.is_relative_to(root)
        path = finding.path.relative_to(root) if inside else finding.path
        fate = styled("left out", "red") if finding.left_out else "used"
        table.add_row(shown(path), finding.kind, shown(finding.detail), fate)
    return table


def _minutes(utterances: list[Utterance]) -> float:
    return round(sum(u.seconds or 0.0 for u in utterances) / 60, 2)
