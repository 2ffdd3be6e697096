"""Flower's own simulation engine: one machine, or a Ray cluster.

It is slower than the default engine, and kept as a reference: the same apps give the same weights on it. Two of its
defaults are changed here. A client takes one core and not two. FedVoice starts Ray, so that clients see the
environment that they need on every machine of a cluster.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from shared_models.accelerator import Accelerator
from simulations.engine.worker import load_client_app
from simulations.extra import require


def run_on_flower(
    server_app: ServerApp,
    client_app: str,
    *,
    clients: int,
    workers: int,
    threads: int = 1,
    device: str = "cpu",
    environment: Mapping[str, str] | None = None,
    address: str | None = None,
) -> None:
    """Run a federation on Ray: on a new local one with ``workers`` cores, or on the cluster at ``address``.

    ``device`` is where clients train; so many share a GPU as there are ``workers``. Clients register one after
    another, so the server must wait until all are there before it samples. Raises :class:`MissingExtraError`
    without Ray.
    """
    require("the engine 'ray'", ("ray",))
    variables = _variables(threads, environment)
    with _quiet(), _set_in_this_process(variables):
        _start_ray(workers, variables, address)
        try:
            run_simulation(
                server_app,
                load_client_app(client_app),
                num_supernodes=clients,
                backend_config={"client_resources": {"num_cpus": 1, "num_gpus": gpu_share(device, workers)}},
            )
        finally:
            _stop_ray()


def gpu_share(device: str, workers: int) -> float:
    """The fraction of a GPU that Ray is to set aside for a client: 0 where clients train on something else."""
    on_gpu = Accelerator.resolve(device).device.type == "cuda"
    # Rounded down to what Ray counts in, so that all of them fit.
    return math.floor(1e4 / workers) / 1e4 if on_gpu else 0.0


def _variables(threads: int, environment: Mapping[str, str] | None) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Clients see the devices that they would see in the other engine.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        **(environment or {}),
    }


def _start_ray(workers: int, variables: Mapping[str, str], address: str | None) -> None:
    import ray

    # Flower uses a Ray that is already there. Clients import FedVoice from where this process did.
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    where = {"address": address} if address else {"address": "local", "num_cpus": workers}
    ray.init(
        **where,
        include_dashboard=None if address else False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {**variables, "PYTHONPATH": path}},
    )


def _stop_ray() -> None:
    import ray

    ray.shutdown()


@contextlib.contextmanager
def _set_in_this_process(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
