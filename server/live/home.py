"""A live server's home: keys, registry, state, checkpoints and logs, all in one folder of its operator's.

::

    <home>/ca.key ca.pem server.key server.pem    the private authority and this server's certificate
    <home>/admin.token superexec.secret           who may operate it, and who may run its ServerApp
    <home>/federation.json recipe.json            what it serves
    <home>/registry.sqlite superlink.db           devices and invitations; Flower's own state
    <home>/checkpoints/                           what came of it, to pass on
    <home>/checkpoints-participation/ rounds.jsonl    who took part, which stays here
    <home>/refusals.jsonl logs/ status.json serve.pid
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared_models.config import Recipe, recipe_from_json
from shared_models.errors import RecipeError, ServiceError
from shared_models.files import storage_problems, write_atomically
from shared_models.join_code import host_and_port
from shared_models.private_files import private_folder, private_opener

if TYPE_CHECKING:
    from server.live.flower_run import Link

DEFAULT_HOME = Path("~/.fedvoice/server")
ADMIN_HEADER = "x-fedvoice-admin"
"""The header in which the operator's token travels."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server serves, fixed when its home is made."""

    name: str
    """The federation's name, shown to those who join."""
    addresses: tuple[str, ...]
    """``host:port``; the first goes into join codes, all hosts into the certificate."""
    listen: str
    """``host:port`` that the server binds."""
    population: int
    """How many people the federation is for: public, and fixed, since privacy is accounted with it."""
    run: str
    """By which devices keep their personal parameters apart."""
    update_bytes: int
    """Size of one update on the wire, float32: what a device may send in a round follows from it."""
    target_epsilon: float | None = None
    """What the operator asked for when the recipe's noise was settled; more rounds cost more than it."""
    forced: bool = False
    """The operator started in spite of what spoke against it (``fedvoice serve --force``)."""
    charged_until: int = 0
    """Rounds up to this that the home has forgotten are counted as spent (``--charge-lost``)."""

    @property
    def address(self) -> str:
        """The address in join codes."""
        return self.addresses[0]

    @property
    def local_address(self) -> str:
        """Where this machine's own processes reach the server."""
        host, port = host_and_port(self.listen)
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"[{local}]:{port}" if ":" in local else f"{local}:{port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that the certificate is for."""
        named = [host_and_port(address)[0] for address in (*self.addresses, self.local_address)]
        return tuple(dict.fromkeys([*named, "localhost", "127.0.0.1"]))


def listen_address(address: str) -> str:
    """Where to listen when only the public address is known: everywhere, or on loopback if that is loopback."""
    host, port = host_and_port(address)
    if host in _LOOPBACK or host.startswith("127."):
        return address if host != "localhost" else f"127.0.0.1:{port}"
    return f"[::]:{port}" if ":" in host else f"0.0.0.0:{port}"


@dataclass(frozen=True, slots=True)
class ServerHome:
    """The paths of one server's home."""

    folder: Path

    @classmethod
    def at(cls, folder: Path | None) -> ServerHome:
        """The home in ``folder``, or the default one."""
        return cls((folder or DEFAULT_HOME).expanduser().absolute())

    def path(self, name: str) -> Path:
        """A file or folder of the home."""
        return self.folder / name

    @property
    def checkpoints(self) -> Path:
        """The federation's checkpoints."""
        return self.folder / "checkpoints"

    @property
    def registry(self) -> Path:
        """Devices and invitations."""
        return self.folder / "registry.sqlite"

    @property
    def log_folder(self) -> Path:
        """The logs of the two children."""
        return self.folder / "logs"

    @property
    def exists(self) -> bool:
        """Whether a server was set up here."""
        return (self.folder / "federation.json").exists()

    def create(self, settings: Settings, recipe: Recipe) -> None:
        """Set the home up for this federation; secrets that are there stay as they are."""
        with storage_problems(self.folder):
            private_folder(self.folder)
            self.folder.chmod(0o700)
        for secret, size in (("admin.token", 32), ("superexec.secret", 32)):
            if not (self.folder / secret).exists():
                write_atomically(self.folder / secret, secrets.token_hex(size).encode())
        write_atomically(self.folder / "recipe.json", recipe.model_dump_json(indent=2))
        # Last: a home with this file is whole.
        write_atomically(self.folder / "federation.json", json.dumps(asdict(settings), indent=2))

    def settings(self) -> Settings:
        """What the home serves. Raises :class:`ServiceError` if there is no whole home."""
        try:
            fields = json.loads((self.folder / "federation.json").read_text())
            return Settings(**{**fields, "addresses": tuple(fields["addresses"])})
        except (OSError, ValueError, TypeError, KeyError):
            raise ServiceError(
                f"{self.folder} is not a server's home: make one with fedvoice serve --home {self.folder} "
                "--recipe NAME --address HOST:PORT"
            ) from None

    def recipe(self) -> Recipe:
        """The recipe that the home was made with."""
        try:
            return recipe_from_json((self.folder / "recipe.json").read_text())
        except OSError:
            raise RecipeError(f"{self.folder} holds no readable recipe.json: serve from a new home") from None

    def link(self) -> Link:
        """How this machine's own processes reach the home's SuperLink."""
        # Flower takes a second to import, and most of what uses a home does without.
        from server.live.flower_run import Link

        return Link(
            self.settings().local_address,
            self.secret("ca.pem"),
            self.secret("admin.token").decode(),
            self.secret("superexec.secret"),
        )

    def secret(self, name: str) -> bytes:
        """A secret's bytes. Raises :class:`ServiceError` if it is missing or not readable by this user."""
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise ServiceError(
                f"cannot read {self.folder / name} ({error.strerror}): run this as the user who serves"
            ) from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one server of this home for a while. Raises :class:`ServiceError` if another is running."""
        path = self.folder / "serve.pid"
        with storage_problems(path), open(path, "a+", opener=private_opener) as file:
            if not _lock(file.fileno()):
                raise ServiceError(
                    f"a server is running on {self.folder} already (process {_read_pid(path)}): stop it with "
                    f"fedvoice serve stop --home {self.folder}"
                )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    def running(self) -> int | None:
        """The process id of the server that runs on this home, or None."""
        path = self.folder / "serve.pid"
        if not path.exists():
            return None
        with open(path, "a+", opener=private_opener) as file:
            # Whoever gets the lock is alone; it is given back when the file is closed.
            return None if _lock(file.fileno()) else _read_pid(path)


def _read_pid(path: Path) -> int | None:
    text = path.read_text().strip()
    return int(text) if text.isdigit() else None


def _lock(descriptor: int) -> bool:
    """Take the lock on an open file, which ends with the process; False if another has it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
