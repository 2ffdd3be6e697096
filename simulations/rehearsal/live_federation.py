"""A server and its devices, each the command that its operator or owner would type, on loopback and over TLS."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from client.home.policy import Policy, as_toml
from server.live.home import ServerHome
from server.live.journal import Standing, read_rounds, read_standing
from server.live.setup import invite
from server.live.supervisor import healthy
from shared_models.errors import ServiceError
from shared_models.files import write_atomically
from shared_models.supervision import last_lines
from simulations.rehearsal.command_process import CommandProcess
from simulations.rehearsal.voices import Voice

_LOOK_SECONDS = 0.1
_SHOW_SECONDS = 0.5
_ONLINE_STATES = frozenset({"waiting", "training", "paused"})


@dataclass(frozen=True, slots=True)
class View:
    """What to show while it runs."""

    standing: Standing
    online: int
    devices: int
    sent: int
    """Bytes of updates that all devices sent so far."""
    received: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Network:
    """Where the server listens, where devices look for it, and in what surroundings each process runs."""

    listen: str
    advertised: str
    server_prefix: tuple[str, ...] = ()
    device_prefixes: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def loopback(cls) -> Network:
        """This machine alone, at a free port."""
        address = f"127.0.0.1:{free_port()}"
        return cls(address, address)

    def device_prefix(self, number: int) -> tuple[str, ...]:
        """What the command of device ``number`` is started with."""
        return self.device_prefixes[number] if self.device_prefixes else ()


class LiveFederation:
    """Use it as a context; everything that it started is gone at the end."""

    def __init__(
        self,
        folder: Path,
        serve_options: Sequence[str],
        voices: Sequence[Voice],
        policy: Policy,
        network: Network | None = None,
        patience_seconds: float = 600.0,
        names: Sequence[str] | None = None,
        device_environment: Mapping[str, str] | None = None,
    ) -> None:
        """``serve_options`` are those of ``fedvoice serve`` beyond home and addresses; ``policy`` is every device's.

        ``names`` are what the operator sees the devices as; their speakers' by default.
        """
        self.folder = folder.resolve()
        self.home = ServerHome(self.folder / "server")
        self.voices = list(voices)
        self.names = list(names or [voice.speaker for voice in self.voices])
        self.network = network or Network.loopback()
        self._patience = patience_seconds
        self._policy = policy
        self._surroundings = {
            "OMP_NUM_THREADS": "1",
            "XDG_STATE_HOME": str(self.folder / "state"),
            "FLWR_HOME": str(self.folder / "flwr"),
            "PYTHONUNBUFFERED": "1",
        }
        self._device_environment = dict(device_environment or {})
        first = [
            *self._serve_command(), "--address", self.network.advertised, "--listen", self.network.listen,
            "--population", str(len(self.voices)), *serve_options,
        ]  # fmt: skip
        self.server = CommandProcess(
            first, self.folder / "serve.log", self._surroundings, self.network.server_prefix
        )
        self.devices: list[CommandProcess] = []
        self.left_behind: list[int] = []
        """Processes that outlived their command, which must be none."""
        self._started = time.monotonic()

    def __enter__(self) -> LiveFederation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All at once, since each takes a while to sign off.
        for device in self.devices:
            device.ask_to_stop()
        for process in [*self.devices, self.server]:
            self.left_behind += process.stop()

    def device_home(self, number: int) -> Path:
        """The home of device ``number``."""
        return self.folder / "devices" / f"{number:02d}"

    def serve(self) -> None:
        """Start the server and wait until it answers. Raises :class:`ServiceError` if it does not."""
        self.server.start()
        self._until(lambda: self.home.exists and self._answers(), "the server answers")
        # From now on it is the same command that goes on after whatever stopped it.
        self.server.arguments = self._serve_command()

    def serve_again(self) -> None:
        """Start a server that was killed; the operator types ``fedvoice serve`` alone."""
        self.server.start()

    def join_all(self) -> None:
        """Let every voice join with a code of its own, in order, so that places are the simulation's."""
        for number in range(len(self.voices)):
            self.join(number)

    def join(self, number: int) -> None:
        """``fedvoice join CODE --voice ...``, until it has its place."""
        voice, home = self.voices[number], self.device_home(number)
        policy = self.folder / "policy.toml"
        write_atomically(policy, as_toml(self._policy))
        (code,) = invite(self.home, 1, 3600.0)
        device = CommandProcess(
            ["join", code.text(), "--voice", str(voice.table), "--home", str(home), "--name", self.names[number],
             "--policy", str(policy), "--yes", "--json"],
            self.folder / "logs" / f"device-{number:02d}.log",
            # Each voice is another person, with a ledger of their own.
            {**self._surroundings, "XDG_DATA_HOME": str(self.folder / "data" / f"{number:02d}"),
             **self._device_environment},
            self.network.device_prefix(number),
        )  # fmt: skip
        self.devices.append(device)
        device.start()
        self._until(lambda: (home / "federation.json").exists(), f"device {number} joins", device)
        place = json.loads((home / "federation.json").read_text())["member"]
        if place != number:
            raise ServiceError(
                f"device {number} got place {place}: the home {self.home.folder} was used before"
            )
        device.arguments = ["join", "--home", str(home), "--json"]

    def watch(
        self,
        on_view: Callable[[View], None] | None = None,
        on_look: Callable[[], None] | None = None,
        seconds: float = 3600.0,
    ) -> Standing:
        """Wait for the last round. ``on_look`` is called ten times a second (and may kill).

        Raises :class:`ServiceError` if the server ends before, or ``seconds`` pass.
        """
        deadline, shown = time.monotonic() + seconds, 0.0
        while True:
            standing = self.standing()
            if on_view is not None and time.monotonic() - shown > _SHOW_SECONDS:
                shown = time.monotonic()
                on_view(self.view())
            if standing.state == "done" and not self.server.running:
                return standing
            if not self.server.running and self.server.exit_code not in (0, -9):
                raise ServiceError(f"the server ended ({self.server.exit_code}): {_last(self.server.log)}")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"after {seconds:.0f} s the federation is at round {standing.round} ({standing.state} "
                    f"{standing.problem}): see {self.folder}"
                )
            if on_look is not None:
                on_look()
            time.sleep(_LOOK_SECONDS)

    def standing(self) -> Standing:
        """Where the federation stands."""
        return read_standing(self.home.folder)

    def rounds(self) -> list[dict[str, Any]]:
        """The finished rounds."""
        return read_rounds(self.home.folder)

    def device_status(self, number: int) -> dict[str, Any]:
        """What a device says of itself; empty before its first word."""
        try:
            found: dict[str, Any] = json.loads((self.device_home(number) / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def view(self) -> View:
        """Everything at once."""
        told = [self.device_status(number) for number in range(len(self.devices))]
        return View(
            self.standing(),
            sum(status.get("state") in _ONLINE_STATES for status in told),
            len(self.voices),
            sum(int(status.get("sent", 0)) for status in told),
            sum(int(status.get("received", 0)) for status in told),
            time.monotonic() - self._started,
        )

    def _serve_command(self) -> list[str]:
        return ["serve", "--home", str(self.home.folder)]

    def _answers(self) -> bool:
        # In another network namespace it cannot be asked from here; its federation asks for devices when it can.
        return self.standing().state == "waiting" if self.network.server_prefix else healthy(self.home)

    def _until(self, reached: Callable[[], bool], what: str, process: CommandProcess | None = None) -> None:
        process, deadline = process or self.server, time.monotonic() + self._patience
        while not reached():
            if not process.running:
                raise ServiceError(f"before {what}, it ended: {_last(process.log)}")
            if time.monotonic() > deadline:
                raise ServiceError(f"{what}: not within {self._patience:.0f} s; see {process.log}")
            time.sleep(_LOOK_SECONDS)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last(log: Path) -> str:
    return (last_lines(log, 1) or ["it left no log"])[0]
