"""Files that install a server: a systemd unit and a container file."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from shared_models.service_unit import exec_line, filled, own_command

_TEMPLATES = files("server.live") / "templates"


def systemd_unit(home: Path) -> str:
    """A user unit that serves ``home``."""
    command = [*own_command(), "serve", "--home", str(home), "--stay"]
    return filled((_TEMPLATES / "fedvoice-server.service").read_text(), command=exec_line(command))


def containerfile() -> str:
    """A container file with this version of FedVoice, to be built in a checkout of it."""
    return filled((_TEMPLATES / "Containerfile").read_text(), version=version("fedvoice"))
