"""One server whose gate the tests of its parts ask."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from gated_home import POPULATION, STRANGERS
from live_home import make_home
from open_files import umask
from tiny_federation import tiny_recipe

from server.live.home import ServerHome
from server.live.supervisor import Supervisor


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHome]:
    """A home whose SuperLink runs, with a large allowance for strangers."""
    made = make_home(tmp_path_factory.mktemp("server") / "home", tiny_recipe(), POPULATION)
    made.path("gate.json").write_text(json.dumps({"stranger_burst": STRANGERS, "head_seconds": 3}))
    supervisor = Supervisor(made)
    with umask(0):
        supervisor.superlink.start()
    try:
        supervisor.wait_until_healthy()
        yield made
    finally:
        supervisor.superlink.stop()
