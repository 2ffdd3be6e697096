"""Sending a round's messages and taking the replies one by one, on any Flower grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

from flwr.app import Message
from flwr.serverapp import Grid

_FIRST_POLL_SECONDS = 0.02
_LAST_POLL_SECONDS = 0.2
_POLL_GROWTH = 1.5
# A grid that pulls hands over all that has arrived at once; asked for a few at a time, the server's memory
# holds a few updates, however many came while it was busy.
_AT_ONCE = 8
_REMEMBERED_ROUNDS = 8


@runtime_checkable
class StreamingGrid(Protocol):
    """A grid that hands replies over one at a time, each valid until the next is asked for."""

    def stream(self, messages: Iterable[Message], timeout: float | None = None) -> Iterator[Message]:
        """Send the messages and yield the replies as they arrive, for at most ``timeout`` seconds."""


class Exchange:
    """Asks a grid's nodes, and remembers which messages of earlier rounds nobody has answered yet."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._unanswered: list[set[str]] = []

    def ask(
        self, messages: Sequence[Message], seconds: float, enough: Callable[[], bool] = lambda: False
    ) -> Iterator[Message]:
        """Send messages and yield each reply as it arrives, for at most ``seconds`` or until ``enough``.

        A streaming grid's replies are all taken, also those after ``enough``: it could not tell them from the
        next round's.
        """
        if isinstance(self._grid, StreamingGrid):
            yield from self._grid.stream(messages, timeout=seconds)
            return
        deadline = time.monotonic() + seconds
        # A grid may have no number for a message that it could not deliver.
        waiting = {number for number in self._grid.push_messages(messages) if number}
        self._unanswered = [*self._unanswered[-_REMEMBERED_ROUNDS:], waiting]
        pause = _FIRST_POLL_SECONDS
        while waiting and not enough() and time.monotonic() < deadline:
            arrived = False
            for reply in self._arrived(waiting):
                arrived = True
                yield reply
            pause = _FIRST_POLL_SECONDS if arrived else min(pause * _POLL_GROWTH, _LAST_POLL_SECONDS)
            if not arrived:
                time.sleep(max(0.0, min(pause, deadline - time.monotonic())))

    def late(self) -> Iterator[Message]:
        """Replies to earlier rounds that have arrived since. Taking them also frees the grid's storage."""
        for waiting in self._unanswered:
            yield from self._arrived(waiting)
        self._unanswered = [waiting for waiting in self._unanswered if waiting]

    def _arrived(self, waiting: set[str]) -> Iterator[Message]:
        numbers = iter(sorted(waiting))
        while some := list(islice(numbers, _AT_ONCE)):
            for reply in self._grid.pull_messages(some):
                waiting.discard(reply.metadata.reply_to_message_id)
                yield reply


def replies(grid: Grid, messages: Sequence[Message], seconds: float) -> Iterator[Message]:
    """Send messages and yield each reply as it arrives, on any grid, for at most ``seconds``."""
    return Exchange(grid).ask(messages, seconds)
