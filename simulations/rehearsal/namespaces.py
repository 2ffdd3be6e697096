"""Server and devices in network namespaces of their own, each with its own address, over a lossy and slow network.

Needs Linux, root, ``ip`` and ``/dev/net/tun``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared_models.errors import ServiceError
from simulations.rehearsal.live_federation import LiveFederation, Network
from simulations.rehearsal.tunnels import Quality, Router, open_tunnel

_SUBNET = "10.213.77"
_PORT = 8443


@dataclass(frozen=True, slots=True)
class Web:
    """The namespaces of a server and its devices."""

    router: Router
    devices: int
    network: Network

    def address(self, number: int) -> str:
        """The address of device ``number``."""
        return _address(number)


@dataclass(slots=True)
class CutOff:
    """Cuts one device off in the middle of the run, and lets it back; call it often with the federation."""

    web: Web
    device: int
    tell: Callable[[str], None]
    after_round: int = 1
    seconds: float = 20.0
    _since: float | None = None
    over: bool = False

    def __call__(self, federation: LiveFederation) -> None:
        """Cut or reconnect, if it is time to."""
        if self.over:
            return
        standing = federation.standing()
        if self._since is None and standing.round >= self.after_round and standing.state == "training":
            self._since = time.monotonic()
            self.web.router.cut_off(self.web.address(self.device))
            self.tell(f"device {self.device} is cut off for {self.seconds:.0f} s")
        elif self._since is not None and time.monotonic() - self._since > self.seconds:
            self.web.router.reconnect(self.web.address(self.device))
            self.over = True
            self.tell(f"device {self.device} is back")


@contextlib.contextmanager
def namespaced(devices: int, quality: Quality | None = None) -> Iterator[Web]:
    """Namespaces for a server and so many devices, removed at the end. Raises :class:`ServiceError`."""
    if not supported():
        raise ServiceError(
            "network namespaces need Linux, root, the command ip (package iproute2) and /dev/net/tun: leave "
            "--namespaces, or run it where there are"
        )
    names = {_address(number): f"fedvoice-{os.getpid()}-{number + 1}" for number in range(-1, devices)}
    with contextlib.ExitStack() as stack:
        tunnels: dict[str, int] = {}
        for number, (address, name) in enumerate(names.items()):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            interface = f"fv{os.getpid() % 100000}x{number}"
            tunnels[address] = open_tunnel(interface)
            _ip("link", "set", interface, "netns", name)
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", interface)
            _ip("-n", name, "link", "set", interface, "mtu", "1400", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        router = Router(tunnels, quality or Quality())
        router.start()
        stack.callback(router.stop)
        server = f"{_address(-1)}:{_PORT}"
        prefixes = [("ip", "netns", "exec", name) for name in names.values()]
        yield Web(router, devices, Network(server, server, prefixes[0], tuple(prefixes[1:])))


def supported() -> bool:
    """Whether this machine and user can do it."""
    return (
        hasattr(os, "geteuid")
        and os.geteuid() == 0
        and shutil.which("ip") is not None
        and Path("/dev/net/tun").exists()
        and subprocess.run(["ip", "netns", "list"], capture_output=True, check=False).returncode == 0
    )


def _address(number: int) -> str:
    """The server's for -1, else a device's."""
    return f"{_SUBNET}.1" if number < 0 else f"{_SUBNET}.{10 + number}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"ip {' '.join(arguments)} failed: {done.stderr.strip() or done.returncode}")
