"""The console script ``fedvoice``: the commands of all rooms.

A command lives in the room of the person who types it: ``client/commands/`` for the owner of a device,
``server/commands/`` for an operator, ``simulations/commands/`` for a researcher. Each is one file and imports torch
and Flower inside its functions, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

# Flower reports usage and looks for updates unless told otherwise, and reads both when it is imported.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import click
import typer
from typer.core import TyperGroup

from client.commands import clone, detect, embed, join, leave, speak
from server.commands import invite, serve
from server.commands.other_rooms import OtherRooms
from shared_models import console
from shared_models.config import Recipe
from shared_models.errors import FedVoiceError, StorageError
from shared_models.files import explain_storage
from simulations.commands import (
    attack,
    bench,
    corpus,
    doctor,
    evaluate,
    evaluate_matrix,
    export,
    privacy,
    recogniser,
    rehearse,
    simulate,
    speaker_encoder,
    vocoder,
)
from simulations.environment import package_version
from simulations.waiting_threads import wait_briefly

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


class StoppedError(Exception):
    """Ctrl-C, carried past typer, which would end the program without a word."""


class _Commands(TyperGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise StoppedError from stop

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Two words may be one command, as ``evaluate matrix`` beside ``evaluate RUN``."""
        if (both := " ".join(args[:2])) in self.commands and len(args) > 1:
            return both, self.commands[both], args[2:]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="fedvoice",
    cls=_Commands,
    help="Clone voices without collecting them: federated, differentially private text-to-speech.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(simulate.simulate)
app.command()(clone.clone)
app.command()(embed.embed)
app.command()(speak.speak)
app.command()(detect.detect)
app.command()(evaluate.evaluate)
app.command("evaluate matrix")(evaluate_matrix.matrix)
app.command()(export.export)
app.command()(recogniser.recogniser)
app.add_typer(corpus.app, name="corpus")
app.add_typer(privacy.app, name="privacy")
app.add_typer(vocoder.app, name="vocoder")
app.add_typer(speaker_encoder.app, name="speaker-encoder")
app.add_typer(bench.app, name="bench")
app.add_typer(attack.app, name="attack")
app.add_typer(serve.app, name="serve")
app.command()(invite.invite)
app.command()(join.join)
app.command()(leave.leave)
app.command()(rehearse.rehearse)
app.command()(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedvoice {package_version('fedvoice')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = OtherRooms(declined=_declined, figures=_figures)


def _declined(recipe: Recipe, population: int) -> str | None:
    from client.verdict import verdict_by_default

    return verdict_by_default(recipe, population)


def _figures(results: Mapping[str, Any]) -> str:
    from simulations.reports.figures import markdown_table

    return markdown_table(results)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; what is not the user's to mend keeps its traceback."""
    wait_briefly()
    try:
        result = app(args=arguments, standalone_mode=False)
    except FedVoiceError as error:
        return _failed(error, error.exit_code)
    except click.exceptions.NoArgsIsHelpError as wanted:
        wanted.show()
        return wanted.exit_code
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fedvoice"
        console.print_error(f"{error.format_message().rstrip('.')}; see {path} --help")
        return error.exit_code
    except (StoppedError, click.Abort) as stop:
        command = console.how_to_resume(stop)
        console.notices().print(
            f"stopped; resume with {command}" if command else "stopped", soft_wrap=True, highlight=False
        )
        return INTERRUPTED
    except OSError as error:
        explained = explain_storage(error, error.filename or "the output")
        if explained is None:
            raise
        return _failed(explained, StorageError.exit_code, cause=error)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run())


def _failed(error: FedVoiceError, exit_code: int, cause: BaseException | None = None) -> int:
    command = console.how_to_resume(cause or error)
    console.print_error(f"{error}; resume with {command}" if command else str(error))
    return exit_code


if __name__ == "__main__":
    main()
