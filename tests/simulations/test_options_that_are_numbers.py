"""Every option of every command that takes a number refuses what is none."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
import typer

from simulations.cli import app, run


def _options(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _options(inner, (*path, name))
    for option in command.params:
        if isinstance(option.type, click.types.FloatParamType) and isinstance(option, click.Option):
            yield (*path, option.opts[0])


OPTIONS = sorted(_options(typer.main.get_command(app)))


@pytest.mark.parametrize("option", OPTIONS, ids=" ".join)
def test_nan_is_no_number(option: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    *command, name = option
    assert run([*command, name, "nan"]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    # A corpus's bounds are refused by the recipe's own check.
    assert "nan is no number" in shown or "Missing argument" in shown or name[2:].replace("-", "_") in shown


def test_the_speed_of_speech_is_among_them() -> None:
    assert ("speak", "--speed") in OPTIONS
    assert len(OPTIONS) >= 10
