"""Large bodies: what is kept of them in memory while they arrive and leave, and who waits for whom."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import MutableMapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from server.live import flower_run
from server.live.admission import RefusedError
from server.live.body import BodyProblemError, spool_body
from server.live.transfers import Answer, Transfers

KIB = 1024


async def _caught(body: bytes, parts: int = 1) -> Answer:
    """An application's answer of ``body`` in so many parts."""
    answer, step = Answer(), -(-len(body) // parts) or 1
    await answer.catch({"type": "http.response.start", "status": 200, "headers": []})
    for start in range(0, max(1, len(body)), step):
        await answer.catch({"type": "http.response.body", "body": body[start : start + step]})
    return answer


class Peer:
    """Who is sent an answer: all of it, or so many events before it reads on."""

    def __init__(self, reads: int | None = None) -> None:
        self.events: list[MutableMapping[str, Any]] = []
        self.read_on = asyncio.Event()
        self._reads = reads

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        self.events.append(message)
        if self._reads is not None and len(self.events) >= self._reads:
            await self.read_on.wait()

    @property
    def body(self) -> bytes:
        return b"".join(event["body"] for event in self.events[1:])


@given(st.integers(0, 700 * KIB), st.integers(1, 4))
def test_an_answer_arrives_as_it_was_in_small_pieces(size: int, parts: int) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]

    async def scenario() -> Peer:
        peer = Peer()
        await Transfers().send(await _caught(content, parts), peer)
        return peer

    peer = asyncio.run(scenario())
    assert peer.events[0] == {"type": "http.response.start", "status": 200, "headers": []}
    assert peer.body == content
    assert max(len(event["body"]) for event in peer.events[1:]) <= 128 * KIB
    assert [bool(event.get("more_body")) for event in peer.events[1:]].count(False) == 1
    assert not peer.events[-1].get("more_body")


def test_many_who_are_sent_the_same_object_share_one_copy_of_it() -> None:
    async def scenario() -> tuple[int, int, int]:
        transfers, peers = Transfers(), [Peer(reads=2) for _ in range(20)]
        # Equal, and not one object, as Flower makes them.
        answers = [await _caught(b"x" * 300 * KIB + bytes([n % 2])) for n in range(20)]
        sending = zip(answers, peers, strict=True)
        tasks = [asyncio.create_task(transfers.send(answer, peer)) for answer, peer in sending]
        while any(len(peer.events) < 2 for peer in peers):
            await asyncio.sleep(0)
        copies, left = len(transfers._sent), sum(len(answer.take_body()) for answer in answers)
        for peer in peers:
            peer.read_on.set()
        await asyncio.gather(*tasks)
        assert [len(peer.body) for peer in peers] == [300 * KIB + 1] * 20
        return copies, left, len(transfers._sent)

    assert asyncio.run(scenario()) == (2, 0, 0)


def test_a_peer_that_reads_slowly_or_goes_away_holds_up_nobody() -> None:
    async def scenario() -> None:
        transfers = Transfers()
        answers = [await _caught(b"y" * KIB) for _ in range(50)]
        slow = [asyncio.create_task(transfers.send(answer, Peer(reads=1))) for answer in answers]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            async with transfers.handling():
                quick = Peer()
                await transfers.send(await _caught(b"y" * KIB), quick)
        assert quick.body == b"y" * KIB
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert not transfers._sent

    asyncio.run(scenario())


def test_few_large_bodies_are_worked_on_at_once() -> None:
    async def scenario() -> int:
        transfers, at_work, most = Transfers(), 0, 0

        async def work() -> None:
            nonlocal at_work, most
            async with transfers.handling():
                at_work += 1
                most = max(most, at_work)
                await asyncio.sleep(0.001)
                at_work -= 1

        await asyncio.gather(*(work() for _ in range(40)))
        return most

    assert asyncio.run(scenario()) == 4


def test_one_device_cannot_fill_the_disk_with_uploads_that_never_end() -> None:
    transfers = Transfers()
    with contextlib.ExitStack() as open_uploads:
        for _ in range(16):
            open_uploads.enter_context(transfers.arriving(7))
        with pytest.raises(RefusedError, match="16 uploads") as refused, transfers.arriving(7):
            pass
        assert refused.value.status == 429
        with transfers.arriving(8):
            pass
    with transfers.arriving(7):
        pass
    assert not transfers._arriving


def _receive(parts: list[bytes]) -> Any:
    waiting = list(parts)

    async def receive() -> MutableMapping[str, Any]:
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    return receive


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=8))
def test_a_spooled_body_is_the_body(parts: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = asyncio.run(spool_body(_receive(parts), [], 20_000, 5.0, Path(folder)))
        with spool:
            assert spool.read() == b"".join(parts)
            assert not list(Path(folder).iterdir()), "the file has no name that a crash would leave behind"


def test_a_spooled_body_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(BodyProblemError, match="at most 99 bytes") as problem:
        asyncio.run(spool_body(_receive([b"a" * 50, b"b" * 50, b"c"]), [], 99, 5.0, tmp_path))
    assert problem.value.status == 413


def test_a_full_disk_asks_the_device_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = partial(open, "/dev/full", "wb", buffering=0)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full())
    with pytest.raises(BodyProblemError, match="No space left on device") as problem:
        asyncio.run(spool_body(_receive([b"abc"]), [], 99, 5.0, tmp_path))
    assert problem.value.status == 503


class Shelf:
    """A SuperLink's Runtime API with one announced reply, and which of its objects were asked for."""

    def __init__(self, reply: Message) -> None:
        self.objects = {name: thing.deflate() for name, thing in get_all_nested_objects(reply).items()}
        self.reply = reply
        self.arrived: set[str] = set()
        self.asked: list[str] = []

    def PullMessages(self, _: Any) -> Any:  # noqa: N802
        tree = get_object_tree(self.reply)
        return SimpleNamespace(messages_list=[message_to_proto(self.reply)], message_object_trees=[tree])

    def PullObject(self, request: Any) -> Any:  # noqa: N802
        self.asked.append(request.object_id)
        there = request.object_id in self.arrived
        content = self.objects[request.object_id] if there else b""
        return SimpleNamespace(object_found=True, object_available=there, object_content=content)

    def ConfirmMessageReceived(self, _: Any) -> None:  # noqa: N802
        self.asked.append("confirmed")


def test_nothing_large_is_fetched_of_a_reply_that_is_still_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    numbers = ArrayRecord({"shared": Array("float32", (4,), "raw", bytes(16))})
    reply = Message(RecordDict({"header": ConfigRecord({"a": 1}), "shared": numbers}), 7, "train")
    reply.metadata.__dict__["_message_id"] = reply.object_id
    shelf = Shelf(reply)
    grid = SimpleNamespace(_runtime_client=shelf, run=SimpleNamespace(run_id=1), node=None)
    (announced,) = flower_run.announced_replies(grid, ["1"])  # type: ignore[arg-type]
    shelf.arrived = set(shelf.objects) - {reply.object_id}
    for _ in range(3):
        with pytest.raises(flower_run.NotYetError):
            announced.fetch()
    assert shelf.asked == 3 * [reply.object_id]
    shelf.arrived = set(shelf.objects)
    found = announced.fetch()
    assert found is not None
    assert found.content.array_records["shared"]["shared"].data == bytes(16)
    assert shelf.asked[-1] == "confirmed"


def test_the_superlink_may_open_a_file_for_every_device() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import resource as r; from server.live.superlink import allow_open_files as a;"
         "r.setrlimit(r.RLIMIT_NOFILE, (256, 3000)); a(); print(r.getrlimit(r.RLIMIT_NOFILE)); a();"
         "r.setrlimit(r.RLIMIT_NOFILE, (300, 300)); a(); print(r.getrlimit(r.RLIMIT_NOFILE))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.split("\n")[:2] == ["(3000, 3000)", "(300, 300)"]
