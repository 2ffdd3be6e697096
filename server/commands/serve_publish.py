"""``fedvoice serve publish``: give a federation's model away, signed, to its devices and whoever they pass it on to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from server.commands.other_rooms import rooms_of
from shared_models import console


def publish(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Option("--round", min=1, help="A finished round; the last one by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Also write the model folder here, to pass on by other ways.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="results.json of fedvoice evaluate on these weights, or the folder that holds it."),
    ] = None,
    home: Annotated[
        Path | None, typer.Option("--home", help="The server's home; ~/.fedvoice/server by default.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Publish the shared weights of a finished round: a signed folder with a card, which devices fetch.

    The running server hands it to enrolled devices from then on (fedvoice join --get-model); a server that has
    finished serves it with fedvoice serve --stay.

    Examples:

        fedvoice serve publish

        fedvoice serve publish --round 12 --output ../model --figures evaluations/federated/results.json
    """
    from server.live.home import ServerHome
    from server.live.publishing import publish as publish_model
    from shared_models.errors import CheckpointError
    from shared_models.published_model import fingerprint

    where = ServerHome.at(home)
    where.settings()
    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(f"{output} exists already: choose a folder that does not")
    results = _results(figures)
    table = None if results is None else rooms_of(context).figures(results)
    published = publish_model(where, number, table, _base(results))
    if output is not None:
        _copy(published.folder, output)
    described = published.described
    told = {
        "folder": str(output or published.folder),
        "round": described.round,
        "base": described.base,
        "numbers": described.numbers,
        "privacy": described.privacy,
        "evaluated": results is not None,
        "authority": fingerprint(where.secret("ca.pem")),
        "served": where.running() is not None,
    }
    if as_json:
        console.print_json(told)
        return
    _show(told)


def _results(path: Path | None) -> dict[str, Any] | None:
    from shared_models.errors import CheckpointError

    if path is None:
        return None
    file = path / "results.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} holds no figures: name the results.json that fedvoice evaluate wrote")
    return found


def _base(results: dict[str, Any] | None) -> str | None:
    """The weights that were measured."""
    return None if results is None else str(results.get("base", "unknown"))


def _copy(folder: Path, output: Path) -> None:
    from server.live.publishing import write_folder

    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    if output.exists():
        output.rmdir()
    write_folder(output.expanduser().absolute(), files)
    # To be given away, unlike all else that FedVoice writes.
    output.chmod(0o755)
    for path in output.iterdir():
        path.chmod(0o644)


def _show(told: dict[str, Any]) -> None:
    lines = [
        f"round {told['round']} is published in {told['folder']}: {told['numbers']:,} numbers, {told['privacy']}",
        f"signed by the authority {told['authority'][:16]}...; "
        + ("with figures" if told["evaluated"] else "its card says that nobody evaluated it (--figures)"),
        "devices fetch it with: fedvoice join --get-model"
        if told["served"]
        else "no server is running: fedvoice serve --stay hands it to devices (fedvoice join --get-model)",
        f"anybody who has the folder clones with: fedvoice clone RECORDINGS --base {told['folder']}",
    ]
    for line in lines:
        console.output().print(line, highlight=False, markup=False, soft_wrap=True)
