"""The server's end of the worker processes, and of the shared memory between them and the server's process.

Weights are put into shared memory once, however many clients they go to. Every worker has a few slots for
replies, and starts its next client only when one of them is free: memory does not grow with the cohort.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle

from flwr.app import Message

from shared_models.errors import FedVoiceError
from simulations.engine.broadcast import Broadcast, Sent
from simulations.engine.memory import SharedBlock
from simulations.engine.nursery import Nursery, environment_of, nursery_of
from simulations.engine.orders import Done, Failed, OpenBlock, Settings, Task
from simulations.engine.packing import Buffer, pack

_STARTS_ALLOWED = 3
_CLOSING_SECONDS = 5.0
_DYING_SECONDS = 1.0


@dataclass(slots=True)
class Job:
    """One message that a client is to answer."""

    number: int
    member: int
    message: Message


@dataclass(slots=True)
class Outcome:
    """A job's end. ``done`` is None if the worker died of it, for the reason given."""

    job: Job
    done: Done | None
    buffers: list[Buffer] = field(default_factory=list)
    """The reply's large arrays, valid until the outcome is released."""
    reason: str = ""
    slot: tuple[_Worker, int] | None = None


@dataclass(slots=True)
class _Worker:
    nursery: Nursery
    process: int
    connection: Connection
    lifeline: int
    slots: dict[int, SharedBlock]
    free_slots: list[int]
    known: set[int]
    """Blocks whose descriptors it has."""
    job: Job | None = None
    slot: int = -1
    reading: Sent | None = None


class Workers:
    """A fixed number of worker processes that answer jobs in any order."""

    def __init__(
        self, count: int, settings: Settings, environment: Mapping[str, str] | None = None, *, slots: int = 2
    ) -> None:
        self._settings = settings
        self._environment = environment_of(settings.threads, environment or {})
        self._count = count
        self._slots = slots
        self._failed_starts = 0
        self._closed = False
        self._queue: deque[Job] = deque()
        self._broadcast = Broadcast()
        self._outcomes: deque[Outcome] = deque()
        self._states: dict[int, bytes] = {}
        self._workers: list[_Worker] = []
        self._nursery = nursery_of(settings.client_app, self._environment)
        self._start()

    @property
    def process_ids(self) -> list[int]:
        """The process ids of the workers that have started."""
        return [worker.process for worker in self._workers]

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; they start as workers become free."""
        self._queue.extend(jobs)
        self._dispatch()

    def cancel(self, numbers: set[int]) -> None:
        """Take jobs that have not started out of the queue."""
        self._queue = deque(job for job in self._queue if job.number not in numbers)

    def next_outcome(self, timeout: float | None) -> Outcome | None:
        """The next job to end, or None if none does within ``timeout`` seconds (None: wait).

        Raises :class:`FedVoiceError` if the workers cannot start.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._dispatch()
        while not self._outcomes:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            by_connection = {worker.connection: worker for worker in self._workers}
            arrived = wait([self._nursery.connection, *by_connection], left)
            for connection in arrived:
                if connection is self._nursery.connection:
                    self._listen_to_nursery()
                else:
                    self._listen(by_connection[connection])  # type: ignore[index]
            self._dispatch()
            if not arrived and deadline is not None and time.monotonic() >= deadline:
                break
        return self._outcomes.popleft() if self._outcomes else None

    def release(self, outcome: Outcome) -> None:
        """The outcome's buffers are not needed any more: their slot may be written to again."""
        if outcome.slot is not None:
            worker, slot = outcome.slot
            outcome.slot = None
            outcome.buffers = []
            worker.free_slots.append(slot)
            self._dispatch()

    def close(self) -> None:
        """End all workers, once."""
        if self._closed:
            return
        self._closed = True
        self._queue.clear()
        for worker in self._workers:
            self._hang_up(worker)
        for worker in self._workers:
            worker.nursery.reap(worker.process, _CLOSING_SECONDS)
        self._nursery.leave()
        self._workers.clear()
        self._broadcast.close()

    def _start(self) -> None:
        """Bring the workers up to their number."""
        while self._nursery.ready and len(self._workers) < self._count:
            try:
                process, connection, lifeline = self._nursery.bear(self._settings, self._environment)
            except (EOFError, OSError):
                self._replace_nursery()
            else:
                self._workers.append(_Worker(self._nursery, process, connection, lifeline, {}, [], set()))

    def _listen_to_nursery(self) -> None:
        try:
            said = self._nursery.connection.recv()
        except (EOFError, OSError):
            self._replace_nursery()
            return
        if isinstance(said, Failed):
            raise FedVoiceError(
                f"the ClientApp '{self._settings.client_app}' cannot be imported: {said.reason}"
            )
        self._nursery.ready = True
        self._failed_starts = 0
        self._start()

    def _replace_nursery(self) -> None:
        code = self._nursery.close()
        self._failed_starts += 1
        if self._failed_starts >= _STARTS_ALLOWED:
            raise FedVoiceError(
                f"the clients' process ended with code {code} while it started, {_STARTS_ALLOWED} times in a "
                "row: see what it printed, or free memory"
            )
        self._nursery = Nursery(self._settings.client_app, self._environment)

    def _dispatch(self) -> None:
        for worker in list(self._workers):
            if self._queue and worker.job is None:
                try:
                    self._hand_over(worker)
                except (BrokenPipeError, ConnectionResetError):
                    # It was dead before it got the job, which another can do.
                    if (job := self._take_job(worker)) is not None:
                        self._queue.appendleft(job)
                    self._replace(worker)

    def _hand_over(self, worker: _Worker) -> None:
        if not worker.free_slots:
            if len(worker.slots) >= self._slots:
                return
            self._add_slot(worker)
        job = self._queue.popleft()
        worker.job, worker.slot = job, worker.free_slots.pop()
        skeleton, buffers = pack(job.message)
        worker.reading = sent = self._broadcast.share(buffers) if buffers else None
        if sent is not None and sent.number not in worker.known:
            self._open(worker, sent.number, sent.block, writable=False)
        worker.connection.send(
            Task(
                number=job.number,
                member=job.member,
                node_id=job.message.metadata.dst_node_id,
                message=skeleton,
                block=sent.number if sent else None,
                places=sent.places if sent else (),
                state=self._states.get(job.member),
                slot=worker.slot,
            )
        )

    def _open(self, worker: _Worker, number: int, block: SharedBlock, *, writable: bool) -> None:
        gone = worker.known & self._broadcast.closed
        worker.connection.send(OpenBlock(number, block.size, writable, tuple(gone)))
        send_handle(worker.connection, block.descriptor, worker.process)
        worker.known.difference_update(gone)
        worker.known.add(number)

    def _add_slot(self, worker: _Worker) -> None:
        number = self._broadcast.new_number()
        block = SharedBlock.create(0)
        self._open(worker, number, block, writable=True)
        worker.slots[number] = block
        worker.free_slots.append(number)

    def _listen(self, worker: _Worker) -> None:
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        self._finish(worker, said)

    def _finish(self, worker: _Worker, done: Done) -> None:
        job = self._take_job(worker)
        assert job is not None
        if done.state is not None:
            self._states[job.member] = done.state
        slot = worker.slots[worker.slot]
        slot.adopt_size(done.slot_size)
        view = slot.view()
        outcome = Outcome(job, done, [view[place.start : place.stop] for place in done.places])
        if outcome.buffers:
            outcome.slot = (worker, worker.slot)
        else:
            worker.free_slots.append(worker.slot)
        self._outcomes.append(outcome)

    def _take_job(self, worker: _Worker) -> Job | None:
        job, worker.job = worker.job, None
        sent, worker.reading = worker.reading, None
        if sent is not None:
            self._broadcast.leave(sent, last=not self._queue)
        return job

    def _replace(self, worker: _Worker) -> None:
        self._hang_up(worker)
        code = worker.nursery.reap(worker.process, _DYING_SECONDS)
        self._workers.remove(worker)
        job = self._take_job(worker)
        if job is not None:
            self._outcomes.append(Outcome(job, None, reason=_why(code)))
        self._start()

    def _hang_up(self, worker: _Worker) -> None:
        worker.connection.close()
        os.close(worker.lifeline)
        for block in worker.slots.values():
            block.close()


def _why(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the client's worker process was killed by signal 9, as it is when memory runs out"
    ended = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return f"the client's worker process ended {ended}: it printed the reason"
