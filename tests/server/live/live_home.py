"""A server's home for tests: a tiny recipe, a free port, and invitations that are used."""

from __future__ import annotations

import socket
from pathlib import Path

from server.app import plan_for
from server.live.certificates import ensure_certificates, fingerprint
from server.live.home import ServerHome, Settings
from server.live.registry import Registry
from shared_models.config import Recipe
from shared_models.join_code import JoinCode


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_home(folder: Path, recipe: Recipe, population: int, port: int | None = None) -> ServerHome:
    """A home that is ready to serve on loopback."""
    home = ServerHome(folder)
    address = f"127.0.0.1:{port or free_port()}"
    size = plan_for(recipe, folder, "test", population).partition.size
    home.create(Settings("test", (address,), address, population, "test", 4 * size), recipe)
    ensure_certificates(folder, "test", home.settings().hosts)
    return home


def invited(home: ServerHome, lifetime_seconds: float = 3600.0) -> JoinCode:
    """One open invitation."""
    ca = fingerprint(home.secret("ca.pem"))
    code = JoinCode.new(home.settings().address, ca, lifetime_seconds)
    Registry(home.registry).invite(code.secret, code.expires_at)
    return code
