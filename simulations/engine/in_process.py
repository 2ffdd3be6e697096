"""The default engine: a Flower grid that runs clients in worker processes of this machine.

The same ClientApp as on a live SuperNode, without Flower's object store, polling and per-client copies
under it. Stock Flower strategies run on it unchanged; a strategy that takes replies one at a time from
:meth:`InProcessGrid.stream` needs memory for a few of them, however large the cohort.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run

from simulations.engine.orders import Scalar, Settings
from simulations.engine.packing import unpack
from simulations.engine.task_identity import (
    CLIENT_APP_CRASHED,
    FIRST_CLIENT_NODE_ID,
    SERVER_NODE_ID,
    empty_run,
    identify,
    number_message,
)
from simulations.engine.workers import Job, Outcome, Workers

Progress = Callable[[int, int], None]


class InProcessGrid(Grid):
    """``clients`` clients on ``workers`` processes. Close it, or use it as a context manager.

    A client's node id is its member number plus a constant, in every run. ``context.state`` lasts as long as
    the grid. A client whose worker dies, or whose code raises, answers with Flower's error message.
    """

    def __init__(
        self,
        client_app: str,
        *,
        clients: int,
        workers: int,
        threads: int = 1,
        device: str = "cpu",
        environment: Mapping[str, str] | None = None,
        node_config: Mapping[str, Scalar] | None = None,
        run_config: Mapping[str, Scalar] | None = None,
        run_id: int = 1,
        slots: int = 2,
        progress: Progress | None = None,
    ) -> None:
        """Start the workers.

        ``client_app`` is where they import the ClientApp from, ``module:attribute``; ``threads`` are torch's
        in a worker; ``device`` is where clients train, whose memory the workers share in equal parts; ``slots`` are
        the replies that a worker may have waiting for the server.
        """
        self._run = empty_run(run_id)
        self._clients = clients
        self._numbers = itertools.count(1)
        self._pushed: set[int] = set()
        self._arrived: dict[str, Message] = {}
        self._progress = progress
        identify(run_id, SERVER_NODE_ID)
        count = min(workers, clients)
        settings = Settings(
            client_app,
            run_id,
            clients,
            threads,
            device,
            1 / count,
            dict(node_config or {}),
            dict(run_config or {}),
        )
        self._workers = Workers(count, settings, environment, slots=slots)

    @property
    def process_ids(self) -> list[int]:
        """The worker processes' ids."""
        return self._workers.process_ids

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._run

    def set_run(self, run: Run) -> None:
        """Replace the run's description; its id stays what the workers were started with."""
        self._run = run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to one client."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """All clients, in the order of their numbers: they are there from the start."""
        return list(range(FIRST_CLIENT_NODE_ID, FIRST_CLIENT_NODE_ID + self._clients))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Queue messages and return their ids, by which :meth:`pull_messages` knows the replies."""
        numbers = self._submit(messages)
        self._pushed.update(numbers)
        return [str(number) for number in numbers]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies to these messages that have arrived; does not wait."""
        while (outcome := self._workers.next_outcome(0.0)) is not None:
            self._keep(outcome)
        return [self._arrived.pop(number) for number in message_ids if number in self._arrived]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and wait for the replies, at most ``timeout`` seconds; holds all of them at once."""
        return [_reply(outcome, detached=True) for outcome in self._outcomes(messages, timeout)]

    def stream(self, messages: Iterable[Message], timeout: float | None = None) -> Iterator[Message]:
        """Send messages and yield the replies in the order they arrive, at most ``timeout`` seconds.

        A reply's arrays are views of memory that another client will write to: they are valid until the
        next reply is asked for, and must be added up, or copied, before.
        """
        for outcome in self._outcomes(messages, timeout):
            yield _reply(outcome)

    def close(self) -> None:
        """End the worker processes."""
        self._workers.close()

    def __enter__(self) -> InProcessGrid:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, messages: Iterable[Message]) -> list[int]:
        jobs = []
        for message in messages:
            member = message.metadata.dst_node_id - FIRST_CLIENT_NODE_ID
            if not 0 <= member < self._clients:
                raise ValueError(f"no node {message.metadata.dst_node_id} among {self._clients} clients")
            number = next(self._numbers)
            number_message(message, str(number))
            jobs.append(Job(number, member, message))
        self._workers.submit(jobs)
        return [job.number for job in jobs]

    def _outcomes(self, messages: Iterable[Message], timeout: float | None) -> Iterator[Outcome]:
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = set(self._submit(messages))
        total = len(waiting)
        try:
            while waiting:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                outcome = self._workers.next_outcome(left)
                if outcome is None:
                    return
                if outcome.job.number not in waiting:
                    self._keep(outcome)
                    continue
                waiting.discard(outcome.job.number)
                try:
                    yield outcome
                finally:
                    self._workers.release(outcome)
                if self._progress is not None:
                    self._progress(total - len(waiting), total)
        finally:
            self._workers.cancel(waiting)

    def _keep(self, outcome: Outcome) -> None:
        """Hold a reply for :meth:`pull_messages`; one that came too late for its caller is dropped."""
        if outcome.job.number in self._pushed:
            self._pushed.discard(outcome.job.number)
            self._arrived[str(outcome.job.number)] = _reply(outcome, detached=True)
        self._workers.release(outcome)


def _reply(outcome: Outcome, *, detached: bool = False) -> Message:
    """The reply's arrays view shared memory, or own a copy if ``detached``."""
    if outcome.done is None:
        return Message(Error(CLIENT_APP_CRASHED, outcome.reason), reply_to=outcome.job.message)
    buffers = [bytes(buffer) for buffer in outcome.buffers] if detached else outcome.buffers
    reply: Message = unpack(outcome.done.reply, buffers)
    number_message(reply, f"reply-{outcome.job.number}")
    return reply


def run_in_process(
    server_app: ServerApp,
    client_app: str,
    *,
    clients: int,
    workers: int,
    threads: int = 1,
    device: str = "cpu",
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Run a federation on worker processes of this machine; what the server raises is raised here."""
    with InProcessGrid(
        client_app,
        clients=clients,
        workers=workers,
        threads=threads,
        device=device,
        environment=environment,
        progress=progress,
    ) as grid:
        context = Context(grid.run.run_id, SERVER_NODE_ID, {}, RecordDict(), {})
        server_app(grid, context)
