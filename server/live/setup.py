"""Making a server's home, or finding one fit to go on with."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from server.app import plan_for
from server.live.certificates import ensure_certificates, fingerprint
from server.live.federation import INITIAL
from server.live.home import ServerHome, Settings, listen_address
from server.live.registry import Registry
from shared_models.config import Recipe
from shared_models.errors import RecipeError, ServiceError
from shared_models.files import write_atomically
from shared_models.join_code import JoinCode, host_and_port
from shared_models.partition import Partition
from shared_models.shown_text import fit_name, name_problem


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; None where it says nothing."""

    recipe: Recipe | None = None
    addresses: tuple[str, ...] = ()
    listen: str | None = None
    population: int | None = None
    name: str | None = None
    initial: Callable[[Partition], Tensor] | None = None
    """Gives the weights ``(D,)`` to start from; the recipe's random ones if None."""


def prepare(home: ServerHome, wanted: Wanted) -> Settings:
    """Set a home up, or check that what is asked for is what it serves already.

    Addresses may change at any time; recipe, population and weights only until the first round is done. Raises
    :class:`ServiceError` and :class:`RecipeError` with what to change.
    """
    for address in (*wanted.addresses, *([wanted.listen] if wanted.listen else [])):
        host_and_port(address)
    settings = _known(home, wanted) if home.exists else _new(home, wanted)
    ensure_certificates(home.folder, settings.name, settings.hosts)
    Registry(home.registry)
    return settings


def invite(home: ServerHome, count: int, lifetime_seconds: float) -> list[JoinCode]:
    """Open so many invitations, each for one device."""
    settings, registry = home.settings(), Registry(home.registry)
    ca = fingerprint(home.secret("ca.pem"))
    codes = [JoinCode.new(settings.address, ca, lifetime_seconds) for _ in range(count)]
    for code in codes:
        registry.invite(code.secret, code.expires_at)
    return codes


def _new(home: ServerHome, wanted: Wanted) -> Settings:
    if wanted.recipe is None or not wanted.addresses:
        raise ServiceError(
            f"{home.folder} is no server's home yet: make it one with --recipe NAME --address HOST:PORT, the "
            "address at which devices reach this machine"
        )
    name = wanted.name or fit_name(wanted.recipe.name)
    if problem := name_problem(name):
        raise ServiceError(f"this cannot be a federation's name: {problem}; choose another --name")
    settings = Settings(
        name=name,
        addresses=wanted.addresses,
        listen=wanted.listen or listen_address(wanted.addresses[0]),
        population=wanted.population or wanted.recipe.federation.cohort,
        run=f"{wanted.recipe.name}-{secrets.token_hex(4)}",
        update_bytes=0,
    )
    return _store(home, wanted.recipe, settings, wanted.initial)


def _known(home: ServerHome, wanted: Wanted) -> Settings:
    settings, recipe = home.settings(), home.recipe()
    changed = [
        name
        for name, new, old in (
            ("recipe", wanted.recipe, recipe),
            ("population", wanted.population, settings.population),
        )
        if new is not None and new != old
    ] + (["base"] if wanted.initial is not None else [])
    if changed and any(home.checkpoints.glob("round-*.safetensors")):
        raise ServiceError(
            f"the {' and the '.join(changed)} cannot change in {home.folder}, which has finished rounds: start without "
            "to go on, or serve from a new home"
        )
    addresses = wanted.addresses or settings.addresses
    listen = wanted.listen or (listen_address(addresses[0]) if wanted.addresses else settings.listen)
    settings = replace(settings, addresses=addresses, listen=listen)
    if changed:
        settings = replace(settings, population=wanted.population or settings.population)
        return _store(home, wanted.recipe or recipe, settings, wanted.initial)
    home.create(settings, recipe)
    return settings


def _store(
    home: ServerHome, recipe: Recipe, settings: Settings, initial: Callable[[Partition], Tensor] | None
) -> Settings:
    if settings.population < 1:
        raise RecipeError("a federation has at least one person: set --population to how many may join")
    plan = plan_for(recipe, home.checkpoints, settings.run, settings.population)
    settings = replace(settings, update_bytes=4 * plan.partition.size)
    if initial is not None:
        _write_initial(home.path(INITIAL), initial(plan.partition))
    home.create(settings, recipe)
    return settings


def _write_initial(path: Path, weights: Tensor) -> None:
    write_atomically(path, save({"weights": weights.contiguous()}))
