"""The grid of a live federation: Flower's, polled often, read one reply at a time, and robust against restarts.

A device that is killed loses the message that it had fetched, and a SuperLink that is killed may lose a message that
it was sending. In both cases the device's work is on its disk. So the same message is sent again under another number:
a device that had trained already answers with the bytes that it kept, and no device trains twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from server.live import flower_run

_PUSHED_AT_ONCE = 16
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the grid looks, and how long it waits for a device that is away."""

    poll_seconds: float = 0.15
    look_seconds: float = 1.0
    """How often it asks which devices have restarted."""
    upload_seconds: float = 180.0
    """How long a reply's objects may take to follow its announcement: Flower's own limit."""
    offline_seconds: float = 60.0
    """A device that Flower took for offline (60 s after its last sign) is given up so much later."""
    again_seconds: float = 1.0
    most_again_seconds: float = 60.0

    def before_again(self, times: int) -> float:
        """Seconds until a question that was sent again ``times`` before may be once more."""
        return min(self.most_again_seconds, self.again_seconds * 2.0 ** min(times, 32))


@dataclass(slots=True)
class _Asked:
    """One device's question, under all the numbers that it was sent with."""

    message: Message
    activation: str
    """When the device had last come online when it was asked: another moment later means that it restarted."""
    numbers: set[str] = field(default_factory=set)
    answered: bool = False
    lost: bool = False
    """No answer will come under the numbers so far."""
    offline_since: float | None = None
    resent: int = 0
    again_at: float = 0.0
    """Before then it is not sent again: the whole weights would go to a device that ends at each of them."""


@dataclass(slots=True)
class _Upload:
    """A reply that was announced, until all of it is there."""

    asked: _Asked
    reply: flower_run.Announced
    since: float
    look_at: float = 0.0
    pause: float = 0.025

    def postpone(self) -> None:
        """Look again later: soon at first, then ever less often."""
        self.pause = min(2 * self.pause, 2.0)
        self.look_at = time.monotonic() + self.pause


class LiveGrid(Grid):
    """Flower's grid of one task, with :meth:`stream` (see :class:`server.exchange.StreamingGrid`)."""

    def __init__(
        self,
        grid: flower_run.HttpGrid,
        *,
        pace: Pace | None = None,
        on_restart: Callable[[int], None] | None = None,
        check: Callable[[], None] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """``on_restart`` hears of every node that is asked again; ``check`` is called at every poll and raises
        to end the stream; ``on_progress`` hears how many were asked and how many have answered."""
        self._grid = grid
        self._pace = pace or Pace()
        self._on_restart = on_restart or (lambda _: None)
        self._check = check or (lambda: None)
        self._on_progress = on_progress or (lambda _, __: None)

    def stream(self, messages: Iterable[Message], timeout: float | None = None) -> Iterator[Message]:
        """Send the messages and yield the replies as they arrive, for at most ``timeout`` seconds.

        One reply is in memory at a time. A caller that has enough may stop early. Raises
        :class:`server.live.flower_run.TaskLostError` when the SuperLink has ended the run, and
        :class:`server.live.flower_run.SuperLinkAwayError` when it stays away.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        online = self.activations()
        waiting: dict[str, _Asked] = {}
        uploads: list[_Upload] = []
        open_questions: list[_Asked] = []
        for batch in _batches(messages, _PUSHED_AT_ONCE):
            asked = [_Asked(m, online.get(m.metadata.dst_node_id, "")) for m in batch]
            open_questions += asked
            self._push(asked, waiting)
        total, looked_at = len(open_questions), time.monotonic()
        self._on_progress(total, 0)
        while open_questions and time.monotonic() < deadline:
            self._check()
            arrived = False
            for one, reply in self._arrived(waiting, uploads):
                open_questions.remove(one)
                arrived = True
                self._on_progress(total, total - len(open_questions))
                yield reply
                if time.monotonic() >= deadline:
                    return
            if time.monotonic() - looked_at >= self._pace.look_seconds:
                for one in self._look_for_restarts(open_questions, waiting):
                    open_questions.remove(one)
                    yield flower_run.unanswered(one.message, "the device went offline and did not come back")
                looked_at = time.monotonic()
            if not arrived:
                pause = min([self._pace.poll_seconds, *(upload.pause for upload in uploads)])
                time.sleep(max(0.0, min(pause, deadline - time.monotonic())))

    def activations(self) -> Mapping[int, str]:
        """Node id to when it last came online, of the nodes that are online now."""
        return {node.node_id: node.last_activated_at for node in self._grid.get_nodes()}

    def _arrived(
        self, waiting: dict[str, _Asked], uploads: list[_Upload]
    ) -> Iterator[tuple[_Asked, Message]]:
        if waiting:
            for found in flower_run.announced_replies(self._grid, list(waiting)):
                asked = waiting.pop(found.asked, None)
                if asked is not None:
                    asked.numbers.discard(found.asked)
                    uploads.append(_Upload(asked, found, time.monotonic()))
        now = time.monotonic()
        for upload in [upload for upload in uploads if upload.look_at <= now]:
            asked = upload.asked
            try:
                reply = None if asked.answered else upload.reply.fetch()
            except flower_run.NotYetError:
                # A device that announces a reply and does not send it delays nobody else's.
                upload.postpone()
                if time.monotonic() - upload.since < self._pace.upload_seconds:
                    continue
                reply = None
            uploads.remove(upload)
            if asked.answered:
                continue
            if reply is None or (reply.has_error() and reply.error.code in flower_run.UNHEARD):
                asked.lost = not asked.numbers and not any(u.asked is asked for u in uploads)
                continue
            for other in asked.numbers:
                waiting.pop(other, None)
            asked.numbers.clear()
            asked.answered = True
            yield asked, reply

    def _push(self, asked: list[_Asked], waiting: dict[str, _Asked]) -> None:
        accepted = list(self._grid.push_messages([one.message for one in asked]))
        # A push whose answer was lost gets no number when it is repeated, and its content may be half there.
        accepted += [""] * (len(asked) - len(accepted))
        for one, number in zip(asked, accepted, strict=True):
            if number:
                waiting[number] = one
                one.numbers.add(number)
            else:
                one.lost = True

    def _look_for_restarts(self, questions: list[_Asked], waiting: dict[str, _Asked]) -> list[_Asked]:
        """Ask again who restarted or never heard; gives those who have been away for too long."""
        online = self.activations()
        again, given_up = [], []
        for asked in questions:
            node = asked.message.metadata.dst_node_id
            activation = online.get(node)
            if activation is None:
                asked.offline_since = asked.offline_since or time.monotonic()
                if time.monotonic() - asked.offline_since > self._pace.offline_seconds:
                    given_up.append(asked)
            elif asked.lost or activation != asked.activation:
                asked.offline_since = None
                if time.monotonic() < asked.again_at:
                    continue
                asked.again_at = time.monotonic() + self._pace.before_again(asked.resent)
                asked.resent += 1
                asked.message = _again(asked.message)
                asked.activation, asked.lost = activation, False
                again.append(asked)
            else:
                asked.offline_since = None
        for batch in _batches(again, _PUSHED_AT_ONCE):
            self._push(batch, waiting)
            for asked in batch:
                self._on_restart(asked.message.metadata.dst_node_id)
        for asked in given_up:
            for number in asked.numbers:
                waiting.pop(number, None)
        return given_up

    def get_node_ids(self) -> Iterable[int]:
        """See Flower's Grid: the nodes that are online."""
        self._check()
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[Any]:
        """See Flower's Grid."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See Flower's Grid."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See Flower's Grid."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """See Flower's Grid: all replies at once."""
        return list(self.stream(messages, timeout))

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """See Flower's Grid."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def set_run(self, run: Any) -> None:
        """See Flower's Grid."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """See Flower's Grid."""
        return self._grid.run


def _again(message: Message) -> Message:
    """The same content as a fresh message, which Flower delivers again."""
    described = message.metadata
    return Message(
        message.content,
        dst_node_id=described.dst_node_id,
        message_type=described.message_type,
        ttl=described.ttl,
        group_id=described.group_id,
    )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
