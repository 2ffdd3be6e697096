"""A worker process: runs one client after another on the ClientApp.

It ends when the server's process does, however that ends: the socket closes, and so does the lifeline,
which is watched while a client trains.
"""

from __future__ import annotations

import importlib
import os
import random
import threading
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, NoReturn

import numpy as np
import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from shared_models import wire
from shared_models.accelerator import Accelerator, limit_memory
from shared_models.errors import FedVoiceError
from simulations.engine.memory import SharedBlock, aligned
from simulations.engine.orders import Done, OpenBlock, Place, Settings, Task
from simulations.engine.packing import Buffer, pack, pack_whole, unpack
from simulations.engine.task_identity import CLIENT_APP_RAISED, identify


def work(socket: int, lifeline: int, app: ClientApp, settings: Settings) -> NoReturn:
    """Serve the process at the other end of ``socket`` until it is gone, and end this one."""
    threading.Thread(target=_die_with, args=(lifeline,), daemon=True).start()
    _seed_from_the_system()
    torch.set_num_threads(settings.threads)
    code = 0
    try:
        # Here, because a process that has used a GPU cannot be forked.
        limit_memory(Accelerator.resolve(settings.device).device, settings.memory_share)
        _serve(Connection(socket), app, settings)
    except (EOFError, ConnectionError):
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    # Without the interpreter's own ending, which belongs to the process that this one was forked from.
    os._exit(code)


def load_client_app(reference: str) -> ClientApp:
    """Import ``module:attribute``. Raises :class:`FedVoiceError` if there is no ClientApp there."""
    module, _, attribute = reference.partition(":")
    app = getattr(importlib.import_module(module), attribute, None)
    if not isinstance(app, ClientApp):
        raise FedVoiceError(f"'{reference}' names no ClientApp: give it as module:attribute")
    return app


def _seed_from_the_system() -> None:
    """Workers must not draw alike because they were forked from one process."""
    random.seed()
    np.random.seed()
    torch.seed()


def _serve(connection: Connection, app: ClientApp, settings: Settings) -> None:
    blocks: dict[int, SharedBlock] = {}
    while True:
        order = connection.recv()
        if isinstance(order, OpenBlock):
            descriptor = recv_handle(connection)
            blocks[order.number] = SharedBlock(descriptor, order.size, writable=order.writable)
            for number in order.closed:
                blocks.pop(number).close()
        else:
            connection.send(_perform(order, app, settings, blocks))


def _perform(task: Task, app: ClientApp, settings: Settings, blocks: dict[int, SharedBlock]) -> Done:
    received = blocks[task.block].view() if task.block is not None else memoryview(b"")
    message: Message = unpack(task.message, [received[p.start : p.stop] for p in task.places])
    slot = Slot(blocks[task.slot])
    context = _context(task, settings)
    identify(settings.run_id, task.node_id)
    with wire.sending_from(slot):
        reply = _answer(app, message, context)
    skeleton, buffers = pack(reply)
    places = tuple(slot.place(buffer) for buffer in buffers)
    state = pack_whole(context.state)
    return Done(
        task.number, skeleton, places, slot.block.size, None if state == (task.state or _NO_STATE) else state
    )


def _answer(app: ClientApp, message: Message, context: Context) -> Message:
    try:
        reply = app(message, context)
    except FedVoiceError as error:
        return Message(Error(CLIENT_APP_RAISED, str(error)), reply_to=message)
    except Exception as error:
        traceback.print_exc()
        return Message(Error(CLIENT_APP_RAISED, f"{type(error).__name__}: {error}"), reply_to=message)
    if not isinstance(reply, Message):
        return Message(
            Error(CLIENT_APP_RAISED, f"the ClientApp returned a {type(reply).__name__} and no Message"),
            reply_to=message,
        )
    return reply


def _context(task: Task, settings: Settings) -> Context:
    node_config: dict[str, Any] = {
        **settings.node_config,
        "partition-id": task.member,
        "num-partitions": settings.clients,
    }
    state = unpack(task.state) if task.state is not None else RecordDict()
    return Context(settings.run_id, task.node_id, node_config, state, dict(settings.run_config))


_NO_STATE = pack_whole(RecordDict())


class Slot:
    """The shared memory that one reply is put into: the outbox of :mod:`shared_models.wire`."""

    def __init__(self, block: SharedBlock) -> None:
        self.block = block
        self._regions: dict[int, Place] = {}
        self._used = 0

    def allocate(self, nbytes: int) -> memoryview:
        """The next free region; the block grows if it must."""
        place = Place(self._used, self._used + nbytes)
        self.block.grow(aligned(place.stop))
        self._used = aligned(place.stop)
        region = self.block.view()[place.start : place.stop]
        self._regions[_address(region)] = place
        return region

    def find(self, address: int, nbytes: int) -> memoryview | None:
        """The region that starts at ``address`` and has this length."""
        place = self._regions.get(address)
        if place is None or place.stop - place.start != nbytes:
            return None
        return self.block.view()[place.start : place.stop]

    def place(self, buffer: Buffer) -> Place:
        """Where ``buffer`` lies in the slot; it is copied there unless it was formed there."""
        view = memoryview(buffer).cast("B")
        if not view.readonly and (found := self._regions.get(_address(view))) is not None:
            return found
        region = self.allocate(view.nbytes)
        region[:] = view
        return self._regions[_address(region)]


def _address(region: memoryview) -> int:
    return torch.frombuffer(region, dtype=torch.uint8).data_ptr() if region.nbytes else 0


def _die_with(lifeline: int) -> None:
    # Nothing is ever written to it, so reading returns when the other end is gone.
    os.read(lifeline, 1)
    os._exit(1)
