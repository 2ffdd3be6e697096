"""Making a server's home, or finding one fit to go on with."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from server.accounting import accountant_for
from server.app import plan_for
from server.checkpoints import newest_round
from server.live.certificates import ensure_certificates, fingerprint
from server.live.federation import INITIAL
from server.live.home import ServerHome, Settings, listen_address
from server.live.registry import Registry
from server.plan import FederationPlan
from server.release_memory import ReleaseMemory
from server.rosters import NobodyYet
from shared_models.config import Recipe
from shared_models.errors import ServiceError
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
    initial: Callable[[Partition], Tensor | None] | None = None
    """Gives the weights ``(D,)`` to start from, or None for the recipe's random ones; None changes nothing."""
    forced: bool = False
    """Start in spite of what speaks against it; remembered by the home."""
    charge_lost: bool = False
    """Count rounds that this computer remembers, and the home does not, as spent."""
    judge: Callable[[FederationPlan, bool], None] | None = None
    """Looks at what is to be served, and whether it was forced, before anything is written; may raise."""


def prepare(home: ServerHome, wanted: Wanted) -> Settings:
    """Set a home up, or check that what is asked for is what it serves already.

    Addresses and the schedule (rounds, quorum, deadline) may change at any time; the rest of the recipe, population
    and weights only until the first round is done. The recipe is kept settled: with the noise that a target epsilon
    comes to, so that more rounds cost more, and less noise is never added than was promised. Raises
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
        run=_new_run(wanted.recipe),
        update_bytes=0,
        target_epsilon=wanted.recipe.privacy.epsilon,
        forced=wanted.forced,
    )
    return _store(home, settled(wanted.recipe, settings.population), settings, wanted)


def _known(home: ServerHome, wanted: Wanted) -> Settings:
    settings, recipe = _addressed(home, wanted), home.recipe()
    population = wanted.population or settings.population
    asked = recipe if wanted.recipe is None else settled(wanted.recipe, population, settings, recipe)
    if wanted.recipe is None and population != settings.population:
        asked = _for_people(recipe, population)
    fixed = {
        "recipe": not recipe.same_run_as(asked),
        "population": population != settings.population,
        "base": wanted.initial is not None,
    }
    changed = [name for name, differs in fixed.items() if differs]
    done = newest_round(home.checkpoints)
    if changed and done:
        raise ServiceError(
            f"the {' and the '.join(changed)} cannot change in {home.folder}, which has finished rounds; its rounds, "
            "quorum and deadline can: start without to go on, or serve from a new home"
        )
    if asked.federation.rounds < done:
        raise ServiceError(
            f"{done} rounds are done in {home.folder}: federation.rounds cannot be {asked.federation.rounds}"
        )
    if changed:
        # Devices may have answered under the old recipe, which they hold this run's to.
        target = settings.target_epsilon if wanted.recipe is None else wanted.recipe.privacy.epsilon
        settings = replace(settings, population=population, run=_new_run(asked), target_epsilon=target)
    return _store(home, asked, settings, wanted)


def settled(
    recipe: Recipe, population: int, settings: Settings | None = None, kept: Recipe | None = None
) -> Recipe:
    """The recipe as a home serves it: no more people drawn than there are, and the noise named, not its epsilon.

    Where ``settings`` and the ``kept`` recipe had the same target for as many people, the noise stays as it was.
    Raises :class:`RecipeError`, :class:`PrivacyError`.
    """
    recipe.refuse_without_updates()
    recipe.refuse_private_meta_learning()
    fitted = _for_people(recipe, population)
    if fitted.privacy.mode == "none" or fitted.privacy.epsilon is None:
        return fitted
    promised = (
        kept is not None
        and kept.privacy.noise_multiplier is not None
        and settings is not None
        and (settings.target_epsilon, settings.population) == (fitted.privacy.epsilon, population)
    )
    if promised and kept is not None and _noise_depends_alike(kept, fitted):
        noise = kept.privacy.noise_multiplier
    else:
        accountant = accountant_for(fitted, population)
        noise = accountant.noise_multiplier if accountant is not None else None
    return fitted.override({"privacy.epsilon": None, "privacy.noise_multiplier": noise})


def _for_people(recipe: Recipe, population: int) -> Recipe:
    changes: dict[str, object] = {"federation.cohort": min(recipe.federation.cohort, population)}
    if recipe.privacy.mode == "central" and recipe.privacy.noise_cohort is None:
        changes["privacy.population"] = population
    return recipe.override(changes)


def _noise_depends_alike(kept: Recipe, asked: Recipe) -> bool:
    one, other = kept.federation, asked.federation
    return (one.cohort, one.sampling, kept.privacy.delta) == (
        other.cohort,
        other.sampling,
        asked.privacy.delta,
    )


def _addressed(home: ServerHome, wanted: Wanted) -> Settings:
    settings = home.settings()
    addresses = wanted.addresses or settings.addresses
    listen = wanted.listen or (listen_address(addresses[0]) if wanted.addresses else settings.listen)
    charged = ReleaseMemory(settings.run).released if wanted.charge_lost else settings.charged_until
    forced = settings.forced or wanted.forced
    return replace(settings, addresses=addresses, listen=listen, forced=forced, charged_until=charged)


def _new_run(recipe: Recipe) -> str:
    return f"{recipe.name}-{secrets.token_hex(4)}"


def _store(home: ServerHome, recipe: Recipe, settings: Settings, wanted: Wanted) -> Settings:
    plan = plan_for(recipe, home.checkpoints, settings.run, settings.population)
    if wanted.judge is not None:
        wanted.judge(replace(plan, roster=NobodyYet()), settings.forced)
    settings = replace(settings, update_bytes=4 * plan.partition.size)
    if wanted.initial is not None:
        _write_initial(home.path(INITIAL), wanted.initial(plan.partition))
    home.create(settings, recipe)
    return settings


def _write_initial(path: Path, weights: Tensor | None) -> None:
    if weights is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, save({"weights": weights.contiguous()}))
