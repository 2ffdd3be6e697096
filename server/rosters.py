"""Which devices a round can reach: a simulation's clients, or the registered devices that are online now."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from server.drops import Drop
from server.exchange import replies
from shared_models.errors import FedVoiceError, WireError

_POLL_SECONDS = 0.02


class Roster(Protocol):
    """Who is there."""

    def nodes(self) -> Mapping[int, int]:
        """Member to Flower node id, of every device that is online now."""

    def absences(self, members: Iterable[int]) -> Mapping[int, Drop]:
        """Why the devices of these places are not among those."""


class NobodyYet:
    """A live server's roster before anybody joined."""

    def nodes(self) -> Mapping[int, int]:
        """See :class:`Roster`."""
        return {}

    def absences(self, members: Iterable[int]) -> Mapping[int, Drop]:
        """See :class:`Roster`."""
        return dict.fromkeys(members, Drop.NEVER_JOINED)


class GreetedRoster:
    """A simulation's clients: all of them are waited for and greeted once, and stay."""

    def __init__(self, grid: Grid, expected: int, seconds: float) -> None:
        self._grid = grid
        self._expected = expected
        self._seconds = seconds
        self._nodes: dict[int, int] = {}

    def nodes(self) -> Mapping[int, int]:
        """See :class:`Roster`. Raises :class:`FedVoiceError` if too few join in time."""
        self._nodes = self._nodes or meet_clients(self._grid, self._expected, self._seconds)
        return self._nodes

    def absences(self, members: Iterable[int]) -> Mapping[int, Drop]:
        """See :class:`Roster`: all of them were there once."""
        return dict.fromkeys(members, Drop.OFFLINE)


class RegisteredRoster:
    """A live run's devices: those that the registry knows as active and whose node is online now.

    ``registered`` gives member to Flower node id; the two numbers were bound together at enrolment, so a
    device cannot take another's place by claiming its number. ``withdrawn`` gives the places whose device
    left or was shut out; nobody gets them again.
    """

    def __init__(
        self,
        registered: Callable[[], Mapping[int, int]],
        grid: Grid,
        withdrawn: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._registered = registered
        self._withdrawn = withdrawn
        self._grid = grid

    def nodes(self) -> Mapping[int, int]:
        """See :class:`Roster`."""
        online = set(self._grid.get_node_ids())
        return {member: node for member, node in self._registered().items() if node in online}

    def absences(self, members: Iterable[int]) -> Mapping[int, Drop]:
        """See :class:`Roster`."""
        active, gone = set(self._registered()), set(self._withdrawn())

        def why(member: int) -> Drop:
            if member in active:
                return Drop.OFFLINE
            return Drop.WITHDRAWN if member in gone else Drop.NEVER_JOINED

        return {member: why(member) for member in members}


def meet_clients(grid: Grid, expected: int, seconds: float) -> dict[int, int]:
    """Wait for all clients and ask each which member it is: ``{member: node id}``.

    Flower's own strategies sample whoever has registered at that instant, or wait without end.
    """
    deadline = time.monotonic() + seconds
    while len(ids := list(grid.get_node_ids())) < expected:
        if time.monotonic() > deadline:
            raise FedVoiceError(
                f"only {len(ids)} of {expected} clients joined within {seconds:.0f} s: start the missing ones, or "
                "lower the expected number"
            )
        time.sleep(_POLL_SECONDS)
    asked = [
        Message(RecordDict(), dst_node_id=node, message_type="query.hello", group_id="hello") for node in ids
    ]
    nodes = {}
    for reply in replies(grid, asked, seconds):
        if not reply.has_error():
            nodes[_member_of(reply)] = reply.metadata.src_node_id
    if len(nodes) < expected:
        raise FedVoiceError(
            f"{len(nodes)} of {expected} clients answered the server's greeting: see the others' logs for the reason"
        )
    return nodes


def _member_of(reply: Message) -> int:
    member = reply.content.config_records["hello"]["member"]
    if not isinstance(member, int):
        raise WireError(f"a client greeted as member {member!r}, which is no number")
    return member
