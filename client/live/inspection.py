"""Looking at a federation before joining it: what it would train, how private that is, and what one's policy says.

The join code is checked with it and not used up; nothing is made in the device's home, and no recording is read.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import torch

from client.home.policy import Policy
from client.home.spending import claim_of
from client.live.enrolment import SECONDS, another_version, ask, fetch_certificate
from client.live.keys import DeviceKey
from client.verdict import verdict as verdict_of
from shared_models.accounting import epsilon_of
from shared_models.bundle import PROTOCOL
from shared_models.config import Recipe, recipe_from_json
from shared_models.errors import DeclinedError, PartitionError, RecipeError
from shared_models.federated_model import federated_model
from shared_models.join_code import JoinCode
from shared_models.shown_epsilon import epsilon_shown
from shared_models.shown_text import name_problem, shown


@dataclass(frozen=True, slots=True)
class Offer:
    """What a federation says of itself to whoever holds a join code."""

    federation: str
    server: str
    population: int
    recipe: Recipe
    numbers: int
    """Coordinates of an update, by the server's count."""
    round: int
    """The last finished one."""
    state: str
    epsilon: float | None
    """Spent so far, by the server's account."""


def inspect(code: JoinCode, home: Path, *, seconds: float = SECONDS) -> Offer:
    """Ask the code's server, whose certificate has to be the one that the code names.

    Raises :class:`EnrolmentError` for a code that could not be used, another server or another version, and
    :class:`ServiceError` if the server cannot be reached.
    """
    certificate = fetch_certificate(code, seconds)
    asked: dict[str, Any] = {
        "secret": base64.b64encode(code.secret).decode(),
        "version": installed("fedvoice"),
        "protocol": PROTOCOL,
    }
    if (home / "node.key").exists():
        asked["public_key"] = DeviceKey.load(home).public_pem
    answer = ask(code.address, "/fedvoice/inspect", asked, certificate, seconds)
    return _offer(answer, code.address)


def verdict(offer: Offer, policy: Policy) -> str | None:
    """Why this policy would decline the federation's rounds, with field and both values; None if it would not."""
    if offer.numbers > policy.maximum_numbers:
        return (
            f"policy maximum_numbers: an update has {offer.numbers} coordinates, this device allows "
            f"{policy.maximum_numbers}"
        )
    return verdict_of(offer.recipe, offer.population, policy)


def sentences(offer: Offer, policy: Policy) -> list[str]:
    """The federation in words, for its owner-to-be: what is trained, how private it is, what the policy says."""
    federation = offer.recipe.federation
    declined = verdict(offer, policy)
    return [
        f"Federation '{offer.federation}' at {offer.server}: recipe '{shown(offer.recipe.name)}', "
        f"{federation.rounds} rounds, of which {offer.round} are done ({offer.state}).",
        f"Trained: {_what_is_trained(offer)}. Each update has {offer.numbers:,} numbers "
        f"({4 * offer.numbers / 1e6:.1f} MB uncompressed).",
        f"Who takes part: {federation.cohort} people expected a round, drawn by "
        f"{'a coin each' if federation.sampling == 'poisson' else 'lot, as a fixed number'}, of {offer.population} who "
        "may join.",
        *_privacy(offer, policy),
        f"Your policy would decline it, and nothing would be sent: {declined}."
        if declined
        else "Your policy allows it.",
    ]


def as_plain(offer: Offer, policy: Policy) -> dict[str, Any]:
    """The same as plain data."""
    privacy = offer.recipe.privacy
    return {
        "federation": offer.federation,
        "server": offer.server,
        "recipe": offer.recipe.model_dump(mode="json"),
        "population": offer.population,
        "cohort": offer.recipe.federation.cohort,
        "rounds": offer.recipe.federation.rounds,
        "round": offer.round,
        "state": offer.state,
        "numbers": offer.numbers,
        "parts": _parts(offer),
        "mode": privacy.mode,
        "unit": None if privacy.mode == "none" else "person",
        "epsilon": _cost(offer, privacy.delta),
        "delta": None if privacy.mode == "none" else privacy.delta,
        "clipping_norm": None if privacy.mode == "none" else privacy.clipping_norm,
        "declined": verdict(offer, policy),
    }


def _offer(answer: dict[str, Any], server: str) -> Offer:
    try:
        federation, epsilon = str(answer["federation"]), answer["epsilon"]
        if name_problem(federation):
            raise ValueError(federation)
        return Offer(
            federation=federation,
            server=server,
            population=int(answer["population"]),
            recipe=recipe_from_json(str(answer["recipe"])),
            numbers=int(answer["numbers"]),
            round=int(answer["round"]),
            state=shown(str(answer["state"]))[:32],
            epsilon=None if epsilon is None else float(epsilon),
        )
    except (KeyError, TypeError, ValueError, RecipeError):
        raise another_version(server) from None


def _privacy(offer: Offer, policy: Policy) -> Iterator[str]:
    privacy = offer.recipe.privacy
    if privacy.mode == "none":
        yield (
            "Privacy: none. Updates go out unprotected: the server sees each as it is, and no noise is ever added, so "
            "the published weights may tell something of your voice too."
        )
        return
    cost = _cost(offer, privacy.delta)
    said = "an epsilon that cannot be told"
    if cost is not None:
        said = f"epsilon {epsilon_shown(cost)} at delta {privacy.delta:g}"
    yield (
        f"Privacy: mode {privacy.mode}, {said} for a person over all {offer.recipe.federation.rounds} rounds, if the "
        f"server draws and adds noise as it says; clipping norm {privacy.clipping_norm:g}, noise multiplier "
        f"{_noise(offer)}. Your budget at delta {policy.delta:g}: {policy.epsilon_per_run:g} for a run."
    )
    if offer.epsilon is not None:
        yield f"Spent so far by the server's account: epsilon {epsilon_shown(offer.epsilon)}."


def _noise(offer: Offer) -> str:
    try:
        return f"{claim_of(offer.recipe, offer.population).noise_multiplier:.3g}"
    except DeclinedError:
        return "unknown"


def _cost(offer: Offer, delta: float) -> float | None:
    if offer.recipe.privacy.mode == "none":
        return None
    try:
        return epsilon_of([claim_of(offer.recipe, offer.population).whole_run], delta)
    except DeclinedError:
        return None


def _what_is_trained(offer: Offer) -> str:
    parts = _parts(offer)
    kind = "a vocoder" if offer.recipe.trains == "vocoder" else "the shared part of the speech model"
    if not parts:
        return f"{kind}, which this installation cannot build from the recipe"
    listed = ", ".join(f"{name} {count:,}" for name, count in parts.items())
    return f"{kind}, by '{offer.recipe.federation.algorithm}' ({listed} numbers)"


def _parts(offer: Offer) -> dict[str, int]:
    """Numbers of the shared set by part of the model, as this installation would send them."""
    recipe = offer.recipe
    try:
        # Shapes alone: a recipe of a stranger's must not fill this computer's memory.
        with torch.device("meta"):
            shared = federated_model(recipe).partition.shared
    except (PartitionError, RecipeError, RuntimeError, NotImplementedError, ValueError):
        return {}
    counts: Counter[str] = Counter()
    for tensor in shared:
        counts[tensor.name.split(".")[0]] += tensor.stop - tensor.start
    return dict(counts)
