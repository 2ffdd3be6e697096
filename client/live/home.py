"""What a device's home holds for a live federation, and who may use it.

::

    <home>/node.key           the device's private key (EC P-384, OpenSSH form, mode 0600)
    <home>/ca.pem             the federation's CA certificate, checked against the join code
    <home>/federation.json    where the server is, and who this device is to it
    <home>/policy.toml        what the owner allows
    <home>/superexec.secret   lets the worker, and nobody else on this computer, claim the SuperNode's tasks
    <home>/outbox/            the last replies, to send again what is asked for again
    <home>/live/              what the two processes are doing, and the message that is being answered
    <home>/status.json        the same for people and programs that look in
    <home>/logs/              their logs
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from shared_models.errors import EnrolmentError
from shared_models.files import write_atomically

DEFAULT_HOME = Path("~/.fedvoice/device")


@dataclass(frozen=True, slots=True)
class Membership:
    """What the server said when this device enrolled."""

    server: str
    """``host:port``."""
    member: int
    """This device's number in the federation."""
    node_id: int
    federation: str
    run: str
    name: str

    def save(self, home: Path) -> None:
        """Write ``federation.json``. Raises :class:`StorageError`."""
        write_atomically(home / "federation.json", json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, home: Path) -> Membership:
        """Read ``federation.json``. Raises :class:`EnrolmentError` where this device has not joined."""
        try:
            saved = json.loads((home / "federation.json").read_text())
            # Homes that joined before the number was called so.
            member = saved.pop("partition", None)
            return cls(**({} if member is None else {"member": member}) | saved)
        except (OSError, ValueError, TypeError):
            raise EnrolmentError(
                f"{home} has not joined a federation: ask its operator for a join code and run "
                "fedvoice join CODE --voice PATH"
            ) from None


def superexec_secret(home: Path) -> Path:
    """The file with the secret between SuperNode and worker, made where there is none."""
    path = home / "superexec.secret"
    if not path.exists():
        write_atomically(path, secrets.token_hex(32).encode())
    return path


def this_computer(home: Path) -> str:
    """A name for this computer and this folder, by which a copied home can be told from the one that ran."""
    machine = ""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        with contextlib.suppress(OSError):
            machine = machine or path.read_text().strip()
    return f"{machine or os.uname().nodename}:{home.resolve()}:{home.stat().st_ino}"
