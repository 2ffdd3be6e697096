"""A Flower grid without processes: each client is a function that answers at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from simulations.engine.task_identity import (
    FIRST_CLIENT_NODE_ID,
    SERVER_NODE_ID,
    empty_run,
    identify,
    number_message,
)

Answer = Callable[[int, Message], list[Message]]
"""``(client, message)`` to its replies, of which there should be one."""


class FakeGrid(Grid):
    """Replies are handed over in the reverse order of what was asked, as a network might."""

    def __init__(self, clients: int, answer: Answer) -> None:
        self.clients = clients
        self.answer = answer
        self._numbers = itertools.count(1)
        self._replies: dict[str, list[Message]] = {}
        self._run = empty_run(1)
        identify(1, SERVER_NODE_ID)

    @property
    def run(self) -> Run:
        return self._run

    def set_run(self, run: Run) -> None:
        self._run = run

    def create_message(self, *_: object, **__: object) -> Message:
        raise NotImplementedError("messages are made by their constructor")

    def get_node_ids(self) -> list[int]:
        return [FIRST_CLIENT_NODE_ID + client for client in range(self.clients)]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        numbers = []
        for message in messages:
            numbers.append(number := str(next(self._numbers)))
            number_message(message, number)
            node = message.metadata.dst_node_id
            identify(1, node)
            try:
                self._replies[number] = self.answer(node - FIRST_CLIENT_NODE_ID, message)
            finally:
                identify(1, SERVER_NODE_ID)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        known = [number for number in message_ids if number in self._replies]
        return [reply for number in sorted(known, reverse=True) for reply in self._replies.pop(number)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:  # noqa: ARG002
        return self.pull_messages(self.push_messages(messages))
