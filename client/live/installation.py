"""Files with which a system keeps a device running: a systemd user unit, a container file."""

from __future__ import annotations

from importlib.metadata import version as installed
from importlib.resources import files
from pathlib import Path

from shared_models.service_unit import exec_line, filled, own_command


def systemd_unit(home: Path) -> str:
    """A systemd user unit that runs this installation's ``fedvoice join`` on ``home``."""
    command = [*own_command(), "join", "--home", str(home.expanduser().resolve())]
    return filled(_template("fedvoice-device.service"), command=exec_line(command))


def containerfile() -> str:
    """A container file with this version of FedVoice, to be built in a checkout of it."""
    return filled(_template("Containerfile"), version=installed("fedvoice"))


def _template(name: str) -> str:
    return (files("client.live") / "templates" / name).read_text(encoding="utf-8")
