"""systemd units of a server and of a device: how this installation is called, as systemd reads it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_@/.,:=+-]+")
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "%": "%%", "$": "$$"}


def own_command() -> list[str]:
    """How to start this very installation's command line: an absolute path, since systemd knows no shell's."""
    beside = Path(sys.executable).with_name("fedvoice")
    return [str(beside)] if beside.exists() else [sys.executable, "-P", "-m", "simulations.cli"]


def exec_line(arguments: Sequence[str]) -> str:
    """A command as ``ExecStart=`` takes it: quoted where systemd would read it as several words, or as its own."""
    return " ".join(_quoted(argument) for argument in arguments)


def filled(template: str, **values: str) -> str:
    """A template with each ``{name}`` replaced. Raises :class:`KeyError` for one that has no value."""
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], template)


def _quoted(argument: str) -> str:
    if _PLAIN.fullmatch(argument):
        return argument
    return '"' + "".join(_ESCAPED.get(character, character) for character in argument) + '"'
