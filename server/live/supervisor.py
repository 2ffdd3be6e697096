"""``fedvoice serve``: the SuperLink and the federation process, kept alive until the last round is done."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from server.live.certificates import ensure_certificates
from server.live.federation import DONE, HOPELESS
from server.live.home import ADMIN_HEADER, ServerHome
from server.live.journal import Standing, read_standing
from shared_models.disk import shortage
from shared_models.errors import ServiceError, StorageError
from shared_models.files import storage_problems
from shared_models.join_code import host_and_port
from shared_models.private_files import shut_home
from shared_models.supervision import BackOff, Child, last_lines

_TICK_SECONDS = 0.25
_CERTIFICATE_SECONDS = 6 * 3600.0
_START_SECONDS = 90.0
_GOODBYE_SECONDS = 6.0
_TROUBLE_SECONDS = 20.0
"""For how long a restart is shown while what was started again runs."""
_LEAST_FREE_BYTES = 16 * 1024 * 1024
"""Less than a checkpoint of the packaged model takes."""
_ONE_HEAP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}
"""For glibc, in a process whose forty threads pass on objects of megabytes: by default each keeps a heap that stays
as large as it ever was. What one heap has free is used by all, and above 64 MiB goes back to the system."""


@dataclass(frozen=True, slots=True)
class View:
    """What a status line shows."""

    standing: Standing
    superlink_restarts: int
    federation_restarts: int
    trouble: str
    """Why something is being started again; empty if nothing is."""


class Supervisor:
    """Runs one home's server. Call :meth:`run` from the thread that lives as long as the process."""

    def __init__(
        self,
        home: ServerHome,
        on_change: Callable[[View], None] | None = None,
        *,
        stay: bool = False,
        back_off: BackOff | None = None,
    ) -> None:
        """``stay`` keeps serving after the last round; else :meth:`run` returns."""
        self._home = home
        self._on_change = on_change or (lambda _: None)
        self._stay = stay
        self._stopping = threading.Event()
        python, folder = sys.executable, str(home.folder)
        pauses = back_off or BackOff()
        self.superlink = Child(
            "superlink",
            [python, "-m", "server.live.superlink", folder],
            home.log_folder / "superlink.log",
            _ONE_HEAP,
            pauses,
        )
        self.federation = Child(
            "federation",
            [python, "-m", "server.live.federation", folder],
            home.log_folder / "federation.log",
            back_off=pauses,
        )
        self._troubles: dict[str, tuple[str, float]] = {}
        """By child: what happened to it, and when."""
        self._checked_at = time.monotonic()

    def stop(self) -> None:
        """Ask :meth:`run` to end soon; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> Standing:
        """Serve until the rounds are done or :meth:`stop`; nothing that it started outlives it.

        Raises :class:`ServiceError` for a second server on the home, a port in use and what no restart mends.
        """
        with self._home.lock():
            with storage_problems(self._home.folder):
                shut_home(self._home.folder)
            settings = self._home.settings()
            ensure_certificates(self._home.folder, settings.name, settings.hosts)
            _check_port(settings.listen)
            try:
                return self._serve()
            finally:
                # The federation first: it can then report its end to the SuperLink.
                self.federation.stop()
                self.superlink.stop()

    def _serve(self) -> Standing:
        self._tend(self.superlink)
        self.wait_until_healthy()
        done = False
        while not self._stopping.is_set():
            self._tend(self.superlink)
            code = self.federation.ended()
            if code == HOPELESS:
                raise ServiceError(read_standing(self._home.folder).problem or _reason(self.federation))
            done = done or code == DONE
            if done and not self._stay:
                self._say_goodbye()
                break
            if not done:
                self._tend(self.federation)
            self._renew_certificate()
            self._show()
            self._stopping.wait(_TICK_SECONDS)
        self._show()
        return read_standing(self._home.folder)

    def _say_goodbye(self) -> None:
        """Stay until the devices that are online have heard that it is over, which they ask every 3 s at most."""
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while not self._stopping.is_set() and time.monotonic() < deadline and untold_devices(self._home):
            self._tend(self.superlink)
            self._stopping.wait(_TICK_SECONDS)

    def _tend(self, child: Child) -> None:
        try:
            code = child.ended()
            if child.tend() and code is not None:
                self._note_trouble(child, f"{child.name} ended ({code}) and was started again")
        except StorageError as error:
            # Its log cannot be written now: the next tick tries again.
            self._note_trouble(child, str(error))

    def _note_trouble(self, child: Child, what: str) -> None:
        self._troubles[child.name] = (what, time.monotonic())

    def trouble(self) -> str:
        """What is wrong now: a full disk first, then what ended lately; a child that runs well again is no trouble."""
        now = time.monotonic()
        for child in (self.superlink, self.federation):
            _, since = self._troubles.get(child.name, ("", now))
            if now - since > _TROUBLE_SECONDS and (child.running or child.exit_code == DONE):
                del self._troubles[child.name]
        lately = "; ".join(what for what, _ in self._troubles.values())
        return disk_problem(self._home) or lately

    def wait_until_healthy(self) -> None:
        """Wait for the SuperLink to answer. Raises :class:`ServiceError` if it does not start."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._stopping.is_set():
            if healthy(self._home):
                return
            if self.superlink.failures >= 3 or time.monotonic() > deadline:
                raise ServiceError(f"the SuperLink does not start: {_reason(self.superlink)}")
            self._tend(self.superlink)
            self._stopping.wait(0.1)

    def _renew_certificate(self) -> None:
        if time.monotonic() - self._checked_at < _CERTIFICATE_SECONDS:
            return
        self._checked_at = time.monotonic()
        settings = self._home.settings()
        if ensure_certificates(self._home.folder, settings.name, settings.hosts):
            # Devices and the federation ride out the seconds that this takes.
            self.superlink.stop()

    def _show(self) -> None:
        standing = read_standing(self._home.folder)
        self._on_change(View(standing, self.superlink.restarts, self.federation.restarts, self.trouble()))


def disk_problem(home: ServerHome) -> str | None:
    """What is to be said of the disk that holds the home: that it is full, with the folder and what is free.

    Asked of the disk itself, since a server whose disk is full cannot write that down.
    """
    return shortage(home.folder, _LEAST_FREE_BYTES)


def healthy(home: ServerHome, seconds: float = 2.0) -> bool:
    """Whether the home's server answers on its port, with its own certificate."""
    try:
        context = ssl.create_default_context(cafile=str(home.path("ca.pem")))
        answer = httpx.get(
            f"https://{home.settings().local_address}/health",
            verify=context,
            timeout=seconds,
            trust_env=False,
        )
    except (httpx.HTTPError, OSError):
        return False
    return answer.status_code == 200


def untold_devices(home: ServerHome, seconds: float = 2.0) -> int:
    """How many devices that are online have not heard yet that the rounds are over; 0 where nobody can tell."""
    try:
        answer = httpx.get(
            f"https://{home.settings().local_address}/fedvoice/status",
            headers={ADMIN_HEADER: home.secret("admin.token").decode().strip()},
            verify=ssl.create_default_context(cafile=str(home.path("ca.pem"))),
            timeout=seconds,
            trust_env=False,
        )
        return int(answer.json()["untold"])
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError):
        return 0


def _check_port(listen: str) -> None:
    host, port = host_and_port(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceError(
                f"cannot listen on {listen} ({error.strerror}): choose another port with --address or --listen"
            ) from None


def _reason(child: Child) -> str:
    lines = last_lines(child.log, 1)
    return f"{lines[0] if lines else 'it left no log'} (more in {child.log})"
