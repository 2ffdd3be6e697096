"""The model that a server hands out. Its files are read for each request, and the model is never loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from server.live.home import ServerHome
from shared_models.published_model import MANIFEST, SIGNATURE, Manifest, parse_manifest

FOLDER, CURRENT = "published", "current.json"


@dataclass(frozen=True, slots=True)
class Published:
    """The model that the server hands out."""

    folder: Path
    manifest: bytes
    """As it was signed."""
    signature: str

    @property
    def described(self) -> Manifest:
        """The manifest, read."""
        return parse_manifest(self.manifest)


def published(home: ServerHome) -> Published | None:
    """What the server hands out now; None if nothing was published, or the folder is gone."""
    try:
        name = str(json.loads((home.path(FOLDER) / CURRENT).read_text())["folder"])
        folder = home.path(FOLDER) / Path(name).name
        manifest = (folder / MANIFEST).read_bytes()
        return Published(folder, manifest, (folder / SIGNATURE).read_text().strip())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def piece(model: Published, name: str, offset: int, most: int) -> bytes | None:
    """At most ``most`` bytes of one of the model's files from ``offset``; None for a file that it does not list."""
    listed_files = model.described.files
    if name not in listed_files or not 0 <= offset <= listed_files[name].bytes:
        return None
    with (model.folder / name).open("rb") as file:
        file.seek(offset)
        return file.read(most)
