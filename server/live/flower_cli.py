"""Flower's own command line (1.41) against a live server: ``fedvoice serve flwr ls``.

``flwr`` cannot send the operator's token, and the gate admits no call to the Control API without it. Here ``flwr`` runs
unchanged in this process, on a client that sends the token, with a configuration of its own in the server's home. See
:mod:`server.live.flower_state` for why this is a module of its own, and for the test that checks it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from server.live.home import ServerHome
from shared_models.errors import ServiceError
from shared_models.files import write_atomically

CONNECTION = "fedvoice"
_WITHOUT_PLACE = {
    "run": "a run of a FedVoice server carries no code, and is submitted by fedvoice serve itself",
    "login": "the operator is known by the home's admin.token, and not by an account",
}


def run_flwr(home: ServerHome, arguments: Sequence[str]) -> None:
    """Run ``flwr`` with these arguments as the operator of this home's server.

    Raises :class:`SystemExit` with its exit code, and :class:`ServiceError` for what this server never does.
    """
    if arguments and arguments[0] in _WITHOUT_PLACE:
        raise ServiceError(f"flwr {arguments[0]} has no place here: {_WITHOUT_PLACE[arguments[0]]}")
    folder = home.path("flwr")
    write_atomically(folder / "config.toml", _configuration(home))
    os.environ |= {
        "FLWR_HOME": str(folder), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1",
    }  # fmt: skip
    # Flower reads all three when it is imported.
    from flwr.cli import utils
    from flwr.cli.app import app
    from flwr.supercore.control import ControlHttpClient

    from server.live.flower_run import admin_interceptor

    token = admin_interceptor(home.secret("admin.token").decode())

    class OperatorsClient(ControlHttpClient):
        def __init__(self, base_url: str, *, interceptors: Sequence[Any] = (), **options: Any) -> None:
            super().__init__(base_url, interceptors=(*interceptors, token), **options)

    # Set as an attribute of the module: Flower offers no parameter for it.
    vars(utils)["ControlHttpClient"] = OperatorsClient
    sys.argv = ["flwr", *arguments]
    app()


def _configuration(home: ServerHome) -> str:
    # JSON's strings are TOML's.
    address, ca = json.dumps(home.settings().local_address), json.dumps(str(home.path("ca.pem")))
    return (
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f"address = {address}\nroot-certificates = {ca}\n"
    )
