"""The bundle that a live run carries: which FedVoice it needs, and no code at all.

A Flower run brings a bundle (FAB) with the code that every participant is to execute. A FedVoice run's
bundle names the version and protocol of FedVoice instead, and holds nothing that could be executed. Server
and device compute it, byte for byte, from their own installation; a device that is sent any other bundle
declines. What trains on a device is therefore always what its owner installed.
"""

from __future__ import annotations

import hashlib
import io
import tomllib
import zipfile
from functools import lru_cache
from importlib.metadata import version as installed

from shared_models.errors import BundleError

PROTOCOL = 1
"""Raised whenever the messages between server and device change, so that they never talk at cross purposes."""

PUBLISHER = "fedvoice"
NAME = "fedvoice-live"
_PROJECT = "pyproject.toml"
_CONTENT = ".info/CONTENT"
_LARGEST = 64 * 1024
# The earliest date that a zip file can hold; any other would make two builds differ.
_DATE = (1980, 1, 1, 0, 0, 0)


@lru_cache(maxsize=1)
def bundle() -> bytes:
    """This installation's bundle in Flower's FAB format; the same bytes wherever this version is installed."""
    project = _project(installed("fedvoice"), PROTOCOL).encode()
    # Flower's manifest: path, SHA-256 and size in bits of each file.
    content = f"{_PROJECT},{hashlib.sha256(project).hexdigest()},{len(project) * 8}".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in ((_PROJECT, project), (_CONTENT, content)):
            entry = zipfile.ZipInfo(name, _DATE)
            # ZipInfo takes this from the platform otherwise.
            entry.create_system = 3
            archive.writestr(entry, data)
    return out.getvalue()


def bundle_hash() -> str:
    """SHA-256 of :func:`bundle` in hexadecimal: what Flower calls the FAB's hash."""
    return hashlib.sha256(bundle()).hexdigest()


def describe(content: bytes) -> tuple[str, int]:
    """The FedVoice version and protocol that a bundle asks for, without trusting anything in it.

    Raises :class:`BundleError` if it is no FedVoice bundle.
    """
    if len(content) > _LARGEST:
        raise BundleError(
            f"the run's bundle has {len(content)} bytes, far more than FedVoice's: it is not ours"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.getinfo(_PROJECT).file_size > _LARGEST:
                raise BundleError("the run's bundle has a project file of many bytes: it is not FedVoice's")
            fields = tomllib.loads(archive.read(_PROJECT).decode())
        asked = fields["tool"]["fedvoice"]
        return str(asked["version"]), int(asked["protocol"])
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, NotImplementedError, EOFError, RuntimeError):
        raise BundleError("the run's bundle is not FedVoice's: it carries code or is damaged") from None


def refusal(content: bytes) -> str | None:
    """Why this installation does not take part in a run with such a bundle; None if it is its own."""
    if content == bundle():
        return None
    try:
        version, protocol = describe(content)
    except BundleError as error:
        return f"{error}; a device runs only the FedVoice that its owner installed"
    mine = installed("fedvoice")
    if version != mine:
        return f"the server runs fedvoice {version}, this device has {mine}: install fedvoice {version} in its place"
    if protocol != PROTOCOL:
        return f"the server speaks protocol {protocol}, this device {PROTOCOL}: install the server's fedvoice"
    return "the run's bundle names this version and is not its bundle: a device runs only what its owner installed"


def _project(version: str, protocol: int) -> str:
    # Flower requires the two components to be named; neither is ever imported from a bundle.
    return "\n".join(
        (
            "[project]",
            f'name = "{NAME}"',
            f'version = "{version}"',
            'description = "Names a version of FedVoice. Holds no code."',
            "",
            "[tool.flwr.app]",
            f'publisher = "{PUBLISHER}"',
            "",
            "[tool.flwr.app.components]",
            'serverapp = "server.app:app"',
            'clientapp = "client.app:app"',
            "",
            "[tool.flwr.app.config]",
            "",
            "[tool.fedvoice]",
            f'version = "{version}"',
            f"protocol = {protocol}",
            "",
        )
    )
