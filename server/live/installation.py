"""Files that install a server: a systemd unit and a container file."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

_TEMPLATES = files("server.live") / "templates"


def systemd_unit(home: Path) -> str:
    """A user unit that serves ``home``."""
    command = shutil.which("fedvoice") or f"{sys.executable} -m simulations.cli"
    unit = (_TEMPLATES / "fedvoice-server.service").read_text()
    return unit.replace("{command}", command).replace("{home}", str(home))


def containerfile() -> str:
    """A container file with this version of FedVoice."""
    return (_TEMPLATES / "Containerfile").read_text().replace("{version}", version("fedvoice"))
