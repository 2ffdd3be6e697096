"""Every field of a policy: what it declines, with its name and both values, and what it lets through."""

from __future__ import annotations

import re
from datetime import time
from pathlib import Path
from typing import Any

import pytest

import simulations
from client.home.policy import Policy, as_toml, load_policy
from client.learning.personal_terms import PersonalTerms
from client.live.conditions import Surroundings, not_now
from shared_models import recipes
from shared_models.algorithms import ALGORITHMS
from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Utterances
from shared_models.config import Recipe, load_recipe
from shared_models.errors import RecipeError
from shared_models.partition import SharedTensor

CENTRAL = {
    "privacy.mode": "central",
    "privacy.noise_multiplier": 1.0,
    "privacy.clipping_norm": 0.5,
    "federation.sampling": "poisson",
}
RECIPES = Path(recipes.__file__).parent
# one_step is for measuring engines and never trains anybody; diffwave and the like train pooled speech alone.
SHIPPED = sorted({*RECIPES.glob("*.toml"), *RECIPES.glob("vocoders/*.toml")} - {RECIPES / "one_step.toml"})
REQUIRED = {"personal_privacy_required": True}
PRIVATE = {"personal_privacy__enabled": True, "personal_privacy__noise_multiplier": 1.0}
OWN = (SharedTensor("decoder.weight", (2, 3), 0, 6), SharedTensor("mel.weight", (4,), 6, 10))


def recipe(**changes: Any) -> Recipe:
    return Recipe().override(CENTRAL | {name.replace("__", "."): value for name, value in changes.items()})


def test_the_default_takes_part_in_central_privacy_and_in_nothing_without_noise() -> None:
    assert Policy().refusal(recipe()) is None
    said = Policy().refusal(Recipe())
    assert said is not None
    assert "policy modes" in said
    assert "'none'" in said
    assert "central" in said
    assert Policy(modes=("central", "none")).refusal(Recipe()) is None


@pytest.mark.parametrize(
    ("policy", "changes", "words"),
    [
        ({"maximum_clipping_norm": 0.4}, {}, ("maximum_clipping_norm", "0.5", "0.4")),
        ({}, {"privacy__noise_cohort": 1000}, ("minimum_noise_multiplier", "1000")),
        ({"maximum_local_steps": 6}, {}, ("maximum_local_steps", "7 steps", "6")),
        ({}, {"client__batch_size": 3}, ("minimum_batch", "3", "4")),
        ({}, {"client__inner_lr": 0.11}, ("maximum_learning_rate", "client.inner_lr 0.11", "0.1")),
        ({}, {"client__outer_lr": 0.2}, ("maximum_learning_rate", "client.outer_lr 0.2", "0.1")),
        (
            {},
            {"client__outer_optimizer": "sgd", "client__outer_lr": 1e12, "client__gradient_clip": 1e15},
            ("maximum_step_norm", "1e+27", "at most 1"),
        ),
        (
            {"minimum_batch": 9},
            {"trains": "vocoder", "federation__algorithm": "fedper", "vocoder__batch_size": 8},
            ("minimum_batch", "8", "9"),
        ),
        (
            {},
            {"trains": "vocoder", "federation__algorithm": "fedper", "vocoder__discriminator_lr": 0.3},
            ("maximum_learning_rate", "vocoder.discriminator_lr 0.3", "0.1"),
        ),
        ({"personal_privacy_required": True}, {}, ("personal_privacy_required", "false", "true")),
        ({}, {"federation__algorithm": "full"}, ("allowed_shared", "full", "personal")),
        (REQUIRED, PRIVATE | {"trains": "vocoder"}, ("personal_privacy_required", "vocoder", "DP-SGD")),
        (
            REQUIRED,
            PRIVATE | {"federation__algorithm": "fedper"},
            ("personal_privacy_required", "fedper", "DP-SGD"),
        ),
        (
            REQUIRED,
            PRIVATE | {"personal_privacy__noise_multiplier": 0.001},
            ("personal_minimum_noise_multiplier", "0.001", "0.5"),
        ),
        (
            REQUIRED | {"personal_minimum_noise_multiplier": 1.5},
            PRIVATE,
            ("personal_minimum_noise_multiplier", "noise_multiplier 1,", "1.5"),
        ),
    ],
)
def test_a_recipe_outside_a_field_is_declined_with_both_values(
    policy: dict[str, Any], changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    said = Policy(**policy).refusal(recipe(**changes))
    assert said is not None
    for word in words:
        assert word in said
    assert said.startswith("policy ")


def test_an_algorithm_without_updates_is_declined() -> None:
    said = Policy().refusal(recipe(federation__algorithm="local"))
    assert said is not None
    assert "'local' sends nothing" in said


def test_local_steps_are_the_algorithms_own() -> None:
    steps = {"client__inner_steps": 3, "client__outer_steps": 4}
    seven = Policy(maximum_local_steps=7)
    assert seven.refusal(recipe(**steps)) is None
    said = Policy(maximum_local_steps=6).refusal(recipe(**steps))
    assert said is not None
    assert "7 steps a round" in said
    assert Policy(maximum_local_steps=4).refusal(recipe(federation__algorithm="fedavg", **steps)) is None


def test_a_recipe_at_a_fields_limit_is_let_through() -> None:
    limits = Policy(maximum_clipping_norm=0.5, maximum_local_steps=7, personal_privacy_required=True)
    assert limits.refusal(recipe(**PRIVATE)) is None


def test_the_terms_of_personal_training_are_the_owners() -> None:
    policy = Policy(personal_epsilon=3.0, personal_delta=1e-4, personal_minimum_noise_multiplier=0.9)
    generous = recipe(personal_privacy__enabled=True, personal_privacy__epsilon=50.0)
    assert policy.personal_terms(generous) == PersonalTerms(3.0, 1e-4, 0.9)
    frugal = recipe(personal_privacy__enabled=True, personal_privacy__epsilon=1.0)
    assert policy.personal_terms(frugal) == PersonalTerms(1.0, 1e-4, 0.9)
    # A recipe that wants more than the owner's budget is not declined for it: it gets the owner's.
    required = policy.model_copy(update=REQUIRED)
    assert required.refusal(generous) is None


def test_plain_sgd_is_judged_by_its_step_and_not_by_its_rate() -> None:
    sgd = {"client__outer_optimizer": "sgd", "client__outer_lr": 1.0, "client__gradient_clip": 1.0}
    assert Policy().refusal(recipe(**sgd)) is None
    assert Policy().refusal(recipe(**sgd | {"client__gradient_clip": 1.01})) is not None


def test_an_inner_loop_of_plain_sgd_is_judged_by_its_step_too(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Phase(moves=Moves.PERSONAL, material=Utterances.SUPPORT, steps=lambda _: 1)
    meta = Algorithm(description="", inner=inner, outer=ALGORITHMS["fedavg"].outer, order=1)
    monkeypatch.setitem(ALGORITHMS, "meta", meta)
    asked = {"federation__algorithm": "meta", "client__inner_lr": 0.1}
    assert Policy().refusal(recipe(**asked, client__gradient_clip=10.0)) is None
    said = Policy().refusal(recipe(**asked, client__gradient_clip=11.0))
    assert said is not None
    assert "maximum_step_norm" in said
    assert Policy().refusal(recipe(client__inner_lr=0.1, client__gradient_clip=11.0)) is None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_recipe_that_ships_passes_what_a_default_device_asks_of_training(path: Path) -> None:
    shipped = load_recipe(path)
    # Recipes for simulations name mode none or noise for a larger cohort; that a device declines, and rightly.
    private = {
        "privacy.mode": "central", "privacy.noise_cohort": None, "privacy.population": None, "privacy.epsilon": None,
        "privacy.noise_multiplier": 1.0, "federation.sampling": "poisson", "arms": {},
    }  # fmt: skip
    if shipped.federation.algorithm == "centralised":
        private["federation.algorithm"] = "fedrep"
    asked = shipped.override(private)
    assert Policy().refusal(asked) is None
    assert Policy().refusal_of_cohort(asked, 1000) is None


def test_a_recipe_for_measuring_engines_is_below_a_default_devices_batch() -> None:
    said = Policy().refusal(load_recipe(RECIPES / "one_step.toml").override(CENTRAL))
    assert said is not None
    assert "minimum_batch" in said


def test_a_cohort_is_judged_by_recipe_and_population() -> None:
    asked = recipe(federation__cohort=4)
    assert Policy().refusal_of_cohort(asked, None) is None
    assert Policy().refusal_of_cohort(asked, 4) is None
    for cohort, population, expected in ((3, None, 3), (3, 100, 3), (40, 2, 2)):
        said = Policy().refusal_of_cohort(recipe(federation__cohort=cohort), population)
        assert said is not None
        assert f"{expected} expected" in said
        assert "at least 4" in said


def test_too_little_noise_is_declined() -> None:
    policy = Policy(minimum_noise_multiplier=0.8)
    assert policy.refusal_of_noise(0.8) is None
    said = policy.refusal_of_noise(0.79)
    assert said is not None
    assert "0.79" in said
    assert "0.8" in said


def test_what_is_not_declared_shared_stays() -> None:
    assert Policy().refusal_of_shared(OWN, OWN) is None
    asked = (*OWN, SharedTensor("voices.embedding", (8,), 10, 18))
    said = Policy().refusal_of_shared(asked, OWN)
    assert said is not None
    assert "voices.embedding" in said
    reshaped = (SharedTensor("mel.weight", (5,), 0, 5),)
    assert Policy().refusal_of_shared(reshaped, OWN) is not None


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        ((), True),
        (("*",), True),
        (("decoder.*", "mel.weight (4)"), True),
        (("decoder.* (2, 3)", "mel.*"), True),
        (("decoder.*",), False),
        (("decoder.* (3, 2)", "mel.*"), False),
    ],
)
def test_allowed_shared_is_names_and_shapes(patterns: tuple[str, ...], allowed: bool) -> None:
    assert (Policy(allowed_shared=patterns).refusal_of_shared(OWN, OWN) is None) == allowed


def test_an_update_of_too_many_numbers_is_declined() -> None:
    said = Policy(maximum_numbers=9).refusal_of_shared(OWN, OWN)
    assert said is not None
    assert "10" in said
    assert "9" in said


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("22:00-07:00", (time(23), time(6, 59)), (time(7), time(21, 59))),
        ("09:00-17:00", (time(9),), (time(17),)),
    ],
)
def test_hours_go_over_midnight(hours: str, inside: tuple[time, ...], outside: tuple[time, ...]) -> None:
    policy = Policy(hours=hours)
    assert all(policy.within_hours(moment) for moment in inside)
    assert not any(policy.within_hours(moment) for moment in outside)


GOOD = Surroundings(time(23), charging=True, load=0.1, metered=False)


@pytest.mark.parametrize(
    ("field", "bad", "unknown"),
    [
        ({"hours": "22:00-07:00"}, Surroundings(time(12), True, 0.1, False), None),
        (
            {"only_when_charging": True},
            Surroundings(time(23), False, 0.1, False),
            Surroundings(time(23), None, 0.1, False),
        ),
        (
            {"only_when_idle": True},
            Surroundings(time(23), True, 0.9, False),
            Surroundings(time(23), True, None, False),
        ),
        (
            {"metered_network_ok": False},
            Surroundings(time(23), True, 0.1, True),
            Surroundings(time(23), True, 0.1, None),
        ),
    ],
)
def test_a_device_does_not_train_outside_of_its_owners_conditions(
    field: dict[str, Any], bad: Surroundings, unknown: Surroundings | None
) -> None:
    policy = Policy(**field)
    assert not_now(policy, lambda: GOOD) is None
    said = not_now(policy, lambda: bad)
    assert said is not None
    assert said.startswith("not now (policy " + next(iter(field)))
    if unknown is not None:
        # The owner asked for it, so what cannot be told counts as not met.
        assert not_now(policy, lambda: unknown) is not None
    assert not_now(Policy(), lambda: bad) is None


def test_a_policy_is_written_with_every_field_and_read_back(tmp_path: Path) -> None:
    policy = Policy(
        hours="22:00-07:00", allowed_shared=("decoder.* (2, 3)",), modes=("central", "none"), cpu_threads=2
    )
    path = tmp_path / "policy.toml"
    path.write_text(as_toml(policy))
    assert load_policy(path) == policy
    assert all(name in path.read_text() for name in Policy.model_fields)
    assert load_policy(tmp_path / "none.toml") == Policy()


def test_every_field_is_in_the_owners_document() -> None:
    document = Path(simulations.__file__).parent.parent / "docs" / "device.md"
    named = set(re.findall(r"`(\w+)`", document.read_text(encoding="utf-8")))
    assert set(Policy.model_fields) <= named


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("minimum_noise = 1", "no policy field 'minimum_noise'"),
        ("total_epsilon = -1", "total_epsilon"),
        ('hours = "at night"', "22:00-07:00"),
        ("modes = 3", "modes"),
        ("= 3", "not valid TOML"),
        ('allowed_shared = ["a (x)"]', "pattern"),
    ],
)
def test_a_wrong_policy_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=words.replace("(", r"\(")):
        load_policy(path)
