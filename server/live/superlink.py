"""``python -m server.live.superlink HOME``: Flower's SuperLink behind the gate, on a home's keys and database."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

from server.live.home import ServerHome
from shared_models.join_code import host_and_port
from shared_models.supervision import die_with_parent


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


def main() -> None:
    """Entry point of the process; ends with its supervisor."""
    die_with_parent()
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    # Flower reads both when it is imported.
    from server.live import flower_state
    from server.live.admission import gate_options
    from server.live.gate import Gate

    home = ServerHome(Path(sys.argv[1]))
    flower_state.run_superlink(
        arguments(home), Gate, home=home, version=version("fedvoice"), options=gate_options(home)
    )


if __name__ == "__main__":
    main()
