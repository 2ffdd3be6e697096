"""Arrays on their way to workers: each set of them lies in shared memory once, however many read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulations.engine.memory import SharedBlock, aligned
from simulations.engine.orders import Place
from simulations.engine.packing import Buffer


@dataclass(slots=True)
class Sent:
    """A block with the arrays of one or more messages."""

    number: int
    block: SharedBlock
    places: tuple[Place, ...] = ()
    readers: int = 0
    """Workers that are at a message with these arrays."""
    buffers: list[Buffer] | None = None
    """What was copied in; the reference keeps the identity by which it is known from being used again."""


class Broadcast:
    """The blocks that hold messages' arrays. A block that nobody reads is used again for the next ones."""

    def __init__(self) -> None:
        self.closed: set[int] = set()
        """Numbers of blocks that workers may forget."""
        self._sent: list[Sent] = []
        self._numbers = 0

    def new_number(self) -> int:
        """A number that no other block has."""
        self._numbers += 1
        return self._numbers

    def share(self, buffers: list[Buffer]) -> Sent:
        """Where these very buffers lie, copied there if they do not yet; counts one reader more."""
        sent = next((s for s in self._sent if s.buffers is not None and _same(s.buffers, buffers)), None)
        if sent is None:
            sent = self._copy(buffers)
        sent.readers += 1
        return sent

    def leave(self, sent: Sent, *, last: bool) -> None:
        """One reader is done; ``last`` says that no message waits, so that these buffers need not be kept."""
        sent.readers -= 1
        if last and not sent.readers:
            sent.buffers = None

    def close(self) -> None:
        """Give all blocks up."""
        for sent in self._sent:
            sent.block.close()
        self._sent.clear()

    def _copy(self, buffers: list[Buffer]) -> Sent:
        places, end = [], 0
        for buffer in buffers:
            size = memoryview(buffer).nbytes
            places.append(Place(end, end + size))
            end = aligned(end + size)
        sent = self._idle(end)
        view = sent.block.view()
        for place, buffer in zip(places, buffers, strict=True):
            view[place.start : place.stop] = memoryview(buffer).cast("B")
        sent.buffers, sent.places = buffers, tuple(places)
        return sent

    def _idle(self, size: int) -> Sent:
        """A block that nobody reads: one of about the right size, or a new one in the place of all such."""
        idle = [sent for sent in self._sent if not sent.readers]
        for sent in idle:
            if size <= sent.block.size <= 2 * size:
                return sent
        for sent in idle:
            self._sent.remove(sent)
            self.closed.add(sent.number)
            sent.block.close()
        made = Sent(self.new_number(), SharedBlock.create(size))
        self._sent.append(made)
        return made


def _same(one: Sequence[Buffer], other: Sequence[Buffer]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
