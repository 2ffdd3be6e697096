"""The message that a device is answering, kept across the end of its processes."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

from shared_models.errors import StorageError
from shared_models.files import write_atomically

MOST_REPLAYS = 3


class Inbox:
    """Flower hands a message out once. A device that dies with it in hand finds it here when it is back.

    A message whose answering ended this device ``MOST_REPLAYS`` times is given up: it may be the cause.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def holds(self) -> bool:
        """Whether a message was not answered."""
        return self.path.exists()

    def load(self) -> bytes | None:
        """The message that was not answered, or None."""
        try:
            kept = json.loads(self.path.read_text())
            message, replays = base64.b64decode(kept["message"]), int(kept["replays"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if replays >= MOST_REPLAYS:
            self.clear()
            return None
        # Not counted on a full disk, where a message cannot be what ended this device.
        with contextlib.suppress(StorageError):
            self._write(message, replays + 1)
        return message

    def save(self, message: bytes) -> None:
        """Keep a message that was just handed out. Raises :class:`StorageError`."""
        self._write(message, 0)

    def clear(self) -> None:
        """It was answered."""
        self.path.unlink(missing_ok=True)

    def _write(self, message: bytes, replays: int) -> None:
        content = {"replays": replays, "message": base64.b64encode(message).decode()}
        write_atomically(self.path, json.dumps(content))
