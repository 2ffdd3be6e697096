"""A SuperLink of Flower's own in this process, over TLS on a random port, with the enrolment that devices use.

Tests play the server by hand: they submit a bundle, ask a node something, and wait for its reply.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, Status
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.main import create_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from tiny_federation import tiny_recipe

from server.live.certificates import ensure_certificates, fingerprint
from shared_models.bundle import PROTOCOL, bundle
from shared_models.join_code import JoinCode

Scope = dict[str, Any]


class SmallSuperLink:
    """Flower's SuperLink and a stand-in for the gate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ensure_certificates(folder, "test", ["127.0.0.1", "localhost"])
        self.folder = folder
        self.port = _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.app = create_app()
        self.app.state.enable_supernode_auth = True
        self.state: LinkState = self.app.state.linkstate_factory.state()
        self.refuse: tuple[int, str] | None = None
        """Answer every fleet request with this status and reason."""
        self.swallow: set[str] = set()
        """Last parts of fleet paths whose requests are answered as if the server were away."""
        self.over: set[str] = set()
        """Last parts of fleet paths whose requests are answered as if their run had ended."""
        self.lose: set[str] = set()
        """Last parts of fleet paths whose requests are served, and whose answers get lost on their way.

        An empty answer arrives: had it been lost, the node would go offline and online at every request, and what
        it is asked in between would never reach it.
        """
        self.lost_bytes = 0
        self.calls: list[str] = []
        self.secrets: dict[bytes, str] = {}
        self.recipe = tiny_recipe()
        self.left: list[str] = []
        self.federation = "test"
        self.checked = 0
        """How often a join code was asked about."""
        self.run_id = self._task_id = 0
        self._closed = threading.Event()
        self.kind = str(TaskType.SERVER_APP)
        self._small = Starlette(
            routes=[
                Route("/fedvoice/ca.pem", self._ca),
                Route("/fedvoice/inspect", self._inspect, methods=["POST"]),
                Route("/fedvoice/enrol", self._enrol, methods=["POST"]),
                Route("/fedvoice/leave", self._leave, methods=["POST"]),
            ]
        )
        self._server = uvicorn.Server(self._config())
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self._server.started

    def stop(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(20)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Not listening within the block; the state is kept."""
        self.stop()
        yield
        self._server = uvicorn.Server(self._config())
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.start()

    def invite(self, seconds: float = 600.0) -> str:
        """A join code."""
        code = JoinCode.new(self.address, fingerprint((self.folder / "ca.pem").read_bytes()), seconds)
        self.secrets[code.secret] = ""
        return code.text()

    def submit(self, fab: bytes | None = None) -> None:
        """Begin a run that carries ``fab`` (a FedVoice bundle by default)."""
        content = bundle() if fab is None else fab
        fab_hash = self.state.store_fab(Fab(hashlib.sha256(content).hexdigest(), content, {}))
        self.run_id = self.state.create_run(
            "fedvoice/fedvoice-live",
            "0.1.0",
            fab_hash,
            {},
            NOOP_FEDERATION_ID,
            None,
            "",
            self.kind,
        )
        task = self.state.get_tasks(run_ids=[self.run_id], statuses=[Status.PENDING])[0]
        assert self.state.claim_task(task.task_id)
        assert self.state.activate_task(task.task_id)
        self._task_id = task.task_id
        threading.Thread(target=self._beat, args=(task.task_id,), daemon=True).start()

    def _beat(self, task_id: int) -> None:
        while self._task_id == task_id and not self._closed.wait(5):
            self.state.acknowledge_task_heartbeat(task_id)

    def activated_at(self, node: int) -> str:
        """When the node last came online: what the server goes by to ask it again."""
        (found,) = self.state.get_node_info(node_ids=[node])
        return str(found.last_activated_at)

    def online(self) -> set[int]:
        """Nodes that are online."""
        return set(self.state.get_nodes(self.run_id))

    def wait_online(self, seconds: float = 90.0) -> int:
        """The one node, once it is online."""
        deadline = time.monotonic() + seconds
        while not (nodes := self.online()):
            assert time.monotonic() < deadline, "no node came online"
            time.sleep(0.05)
        return next(iter(nodes))

    def ask(self, node: int, content: RecordDict, kind: str = "train", group: str = "1") -> str:
        """Send a message; its id."""
        TaskIdentity.run_id, TaskIdentity.task_id = self.run_id, self._task_id
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        message = Message(content, dst_node_id=node, message_type=kind, group_id=group)
        message.metadata.__dict__["_message_id"] = message.object_id
        store = self.app.state.linkstate_factory.objectstore_factory.store()
        store.preregister(self.run_id, get_object_tree(message))
        for object_id, item in get_all_nested_objects(message).items():
            store.put(object_id, item.deflate())
        assert self.state.store_message_ins(message)
        return message.metadata.message_id

    def reply(self, message_id: str, seconds: float = 120.0) -> Message:
        """The reply to a message, whole."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.take(message_id)
            if found is not None:
                return found
            time.sleep(0.02)
        raise AssertionError("no reply came")

    def take(self, message_id: str) -> Message | None:
        """The reply to a message if it is there, whole."""
        store = self.app.state.linkstate_factory.objectstore_factory.store()
        for reply in self.state.get_message_res({message_id}, self.run_id):
            if reply.has_error():
                return reply
            reply_id = reply.metadata.message_id
            contents: dict[str, bytes] = {}
            deadline = time.monotonic() + 60
            for tree in _trees(store.get_object_tree(reply_id)):
                while not (content := store.get(tree)):
                    assert time.monotonic() < deadline, "an object of the reply never came"
                    time.sleep(0.02)
                contents[tree] = content
            whole = inflate_object_from_contents(reply_id, contents)
            assert isinstance(whole, Message)
            return whole
        return None

    async def __call__(self, scope: Scope, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        path = scope.get("path", "")
        if path.startswith("/fedvoice/"):
            await self._small(scope, receive, send)
            return
        if path.startswith("/v1/fleet/"):
            last = path.rsplit("/", 1)[-1]
            self.calls.append(last)
            if self.refuse is not None:
                status, reason = self.refuse
                await JSONResponse({"error": reason}, status)(scope, receive, send)
                return
            if last in self.swallow:
                await PlainTextResponse("", 503)(scope, receive, send)
                return
            if last in self.over:
                await PlainTextResponse("", 403)(scope, receive, send)
                return
            if last in self.lose:
                await self._lose_content(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _lose_content(self, scope: Scope, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        answer: list[Any] = []

        async def keep(message: Any) -> None:
            answer.append(message)

        await self.app(scope, receive, keep)
        size = sum(len(message.get("body", b"")) for message in answer)
        self.lost_bytes += size
        if size:
            await PlainTextResponse("", 503)(scope, receive, send)
            return
        for message in answer:
            await send(message)

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self, host="127.0.0.1", port=self.port, log_level="error",
            ssl_certfile=str(self.folder / "server.pem"), ssl_keyfile=str(self.folder / "server.key"),
        )  # fmt: skip

    async def _ca(self, _request: Request) -> Response:
        return PlainTextResponse((self.folder / "ca.pem").read_text())

    async def _inspect(self, request: Request) -> Response:
        asked = await request.json()
        used_by = self.secrets.get(base64.b64decode(asked["secret"]))
        self.checked += 1
        if used_by is None:
            return JSONResponse({"error": "this join code is unknown here"}, 403)
        if used_by not in ("", asked.get("public_key")):
            return JSONResponse({"error": "this join code was used by another device"}, 403)
        return JSONResponse(
            {
                "federation": self.federation, "population": 10, "recipe": self.recipe.model_dump_json(),
                "numbers": 1000, "round": 0, "state": "waiting", "epsilon": None, "version": version("fedvoice"),
                "protocol": PROTOCOL,
            }
        )  # fmt: skip

    async def _enrol(self, request: Request) -> Response:
        asked = await request.json()
        secret, pem = base64.b64decode(asked["secret"]), asked["public_key"]
        if secret not in self.secrets:
            return JSONResponse({"error": "this join code is unknown here"}, 403)
        if self.secrets[secret] not in ("", pem):
            return JSONResponse({"error": "this join code was used by another device"}, 409)
        if not _signed(pem, b"fedvoice-enrol\0" + secret, asked["proof"]):
            return JSONResponse({"error": "the proof does not fit the key"}, 403)
        self.secrets[secret] = pem
        key = public_key_to_bytes(serialization.load_pem_public_key(pem.encode()))  # type: ignore[arg-type]
        node = self.state.get_node_id_by_public_key(key) or self.state.create_node("", "", key, 30)
        return JSONResponse(
            {"member": 0, "federation": self.federation, "node_id": str(node), "run": "run", "protocol": 1}
        )

    async def _leave(self, request: Request) -> Response:
        asked = await request.json()
        if not _signed(
            asked["public_key"], b"fedvoice-leave\0" + asked["timestamp"].encode(), asked["proof"]
        ):
            return JSONResponse({"error": "the proof does not fit the key"}, 403)
        self.left.append(asked["public_key"])
        return JSONResponse({"state": "left"})


@contextmanager
def superlink(folder: Path) -> Iterator[SmallSuperLink]:
    """A running SuperLink, stopped at the end."""
    link = SmallSuperLink(folder)
    link.start()
    try:
        yield link
    finally:
        link.stop()
        link._closed.set()


def _signed(pem: str, what: bytes, proof: str) -> bool:
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(base64.b64decode(proof), what, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _trees(tree: Any) -> Iterator[str]:
    yield tree.object_id
    for child in tree.children:
        yield from _trees(child)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
