"""``python -m server.live.superlink HOME``: Flower's SuperLink behind the gate, on a home's keys and database."""

from __future__ import annotations

import os
import resource
import sys
from importlib.metadata import version
from pathlib import Path

from server.live.home import ServerHome
from shared_models.errors import ServiceError
from shared_models.join_code import host_and_port
from shared_models.private_files import private_from_now_on
from shared_models.supervision import die_with_parent

_OPEN_FILES = 65536


def arguments(home: ServerHome) -> list[str]:
    """The SuperLink's command line for a home."""
    host, port = host_and_port(home.settings().listen)
    return [
        "--host", host,
        "--port", str(port),
        "--isolation", "process",
        "--superexec-auth-secret-file", str(home.path("superexec.secret")),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
        "--database", str(home.path("superlink.db")),
        "--ssl-ca-certfile", str(home.path("ca.pem")),
        "--ssl-certfile", str(home.path("server.pem")),
        "--ssl-keyfile", str(home.path("server.key")),
    ]  # fmt: skip


def allow_open_files() -> None:
    """Raise this process's own limit: a device is a connection, and while it uploads a file too, and a shell's usual
    1,024 are soon used up."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def main() -> None:
    """Entry point of the process; ends with its supervisor."""
    die_with_parent()
    private_from_now_on()
    allow_open_files()
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    # Flower reads both when it is imported.
    from server.live import flower_state
    from server.live.admission import gate_options
    from server.live.gate import Gate

    home = ServerHome(Path(sys.argv[1]))
    try:
        options = gate_options(home)
    except ServiceError as error:
        sys.exit(str(error))
    flower_state.run_superlink(
        arguments(home), Gate, options.limits.head_seconds,
        home=home, version=version("fedvoice"), options=options,
    )  # fmt: skip


if __name__ == "__main__":
    main()
