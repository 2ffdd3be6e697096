"""Engines: where the clients of a simulated federation run.

Both run the same ServerApp against the same ClientApp: ``process`` in worker processes of this machine,
``ray`` on Flower's own simulation engine, on this machine or a Ray cluster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

# Flower reads both when it is imported, here or in a process that we start: it reports no usage and looks for
# no updates.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

from shared_models.config import EngineConfig
from simulations.environment import usable_cores

if TYPE_CHECKING:
    from flwr.serverapp import ServerApp

CLIENT_APP = "client.app:app"


def run_federation(
    server_app: ServerApp,
    client_app: str = CLIENT_APP,
    *,
    engine: EngineConfig,
    clients: int,
    environment: Mapping[str, str] | None = None,
    ray_address: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run ``server_app`` to its end against so many clients; what it raises is raised here.

    ``client_app`` is where the clients' processes import the ClientApp from, ``module:attribute``.
    ``environment`` is set in those processes, and is how a client is told where its devices are, since
    Flower's engine hands over no run configuration. ``progress`` is told the replies of the messages in
    flight, ``(arrived, sent)``, by the engine ``process`` alone.
    """
    workers = min(engine.workers or usable_cores(), clients)
    match engine.kind:
        case "process":
            from simulations.engine.in_process import run_in_process

            run_in_process(
                server_app,
                client_app,
                clients=clients,
                workers=workers,
                threads=engine.threads,
                device=engine.device,
                environment=environment,
                progress=progress,
            )
        case "ray":
            from simulations.engine.flower import run_on_flower

            run_on_flower(
                server_app,
                client_app,
                clients=clients,
                workers=workers,
                threads=engine.threads,
                device=engine.device,
                environment=environment,
                address=ray_address,
            )
