"""Files with which a system keeps a device running: a systemd user unit, a container file."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version as installed
from importlib.resources import files
from pathlib import Path


def systemd_unit(home: Path) -> str:
    """A systemd user unit that runs this installation's ``fedvoice join`` on ``home``."""
    beside = Path(sys.executable).with_name("fedvoice")
    command = str(beside) if beside.exists() else (shutil.which("fedvoice") or "fedvoice")
    return _template("fedvoice-device.service").format(command=command, home=home.expanduser().resolve())


def containerfile() -> str:
    """A container file with this version of FedVoice."""
    return _template("Containerfile").format(version=installed("fedvoice"))


def _template(name: str) -> str:
    return (files("client.live") / "templates" / name).read_text(encoding="utf-8")
