"""Where enrolled devices learn that their federation is over, and fetch the model that it published.

``GET /fedvoice/model`` tells where the federation stands and gives the signed manifest; ``GET
/fedvoice/model/NAME?offset=N`` gives a piece of a file from there on, so that a download that was cut off goes on. A
name is looked up in the manifest's list and never joined to a path. That rounds are over also stands in a header of
every answer to a device that asks for messages, so that none has to ask for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from server.live.admission import RefusedError
from server.live.home import ServerHome
from server.live.journal import read_standing
from server.live.published import Published, piece, published
from shared_models.published_model import FINISHED_HEADER, MODEL_PATH, PIECE_BYTES, PUBLISHED_HEADER

_LOOK_SECONDS = 1.0
_SUFFIX = f"{MODEL_PATH}/"


def is_ours(path: str) -> bool:
    """Whether a path is answered here."""
    return path == MODEL_PATH or path.startswith(_SUFFIX)


class ModelDesk:
    """What one server's devices are told of its end and of its model."""

    def __init__(self, home: ServerHome) -> None:
        self._home = home
        self._told: dict[bytes, float] = {}
        self._looked_at = -_LOOK_SECONDS
        self._finished: int | None = None
        self._published: Published | None = None

    def headers(self, device: bytes) -> list[tuple[bytes, bytes]]:
        """What is added to an answer to the device with this key: nothing while the federation goes on."""
        self._look()
        if self._finished is None:
            return []
        self._told[device] = time.time()
        return [
            (FINISHED_HEADER.encode(), str(self._finished).encode()),
            (PUBLISHED_HEADER.encode(), b"0" if self._published is None else b"1"),
        ]

    def untold(self, online: Iterable[bytes]) -> int:
        """How many of these devices have not been told yet that the federation is over; 0 while it goes on."""
        self._look(at_once=True)
        return 0 if self._finished is None else sum(key not in self._told for key in online)

    def standing(self) -> dict[str, Any]:
        """The answer to ``GET /fedvoice/model``."""
        standing, model = read_standing(self._home.folder), published(self._home)
        return {
            "finished": standing.state == "done",
            "round": standing.round,
            "rounds": standing.rounds,
            "manifest": None if model is None else model.manifest.decode(),
            "signature": None if model is None else model.signature,
        }

    def piece(self, path: str, query: bytes) -> bytes:
        """The piece of a file that is asked for. Raises :class:`RefusedError`."""
        name = path.removeprefix(_SUFFIX)
        model = published(self._home)
        if model is None:
            raise RefusedError(404, "no model", "this federation has published no model yet")
        try:
            (offset,) = parse_qs(query.decode("ascii"), strict_parsing=True, max_num_fields=2)["offset"]
            content = piece(model, name, int(offset), PIECE_BYTES) if offset.isdigit() else None
        except (ValueError, KeyError):
            content = None
        if content is None:
            raise RefusedError(
                404, "unknown file", "the published model has no such file, or not so much of it"
            )
        return content

    def _look(self, at_once: bool = False) -> None:
        if not at_once and time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        standing = read_standing(self._home.folder)
        self._finished = standing.rounds if standing.state == "done" else None
        self._published = published(self._home)
        if self._finished is None:
            self._told.clear()
