"""What follows from an algorithm's declaration: what it sends, whether it spares the voice, how many steps it takes."""

from __future__ import annotations

import pytest
from tiny_federation import tiny_recipe

from shared_models.algorithms import ALGORITHMS, DEFAULT
from shared_models.algorithms.algorithm import Algorithm, Moves, Phase, Utterances
from shared_models.config import Recipe
from shared_models.errors import RecipeError

SHIPPED = {name: kind for name, kind in ALGORITHMS.items() if not name.endswith("_of_a_test")}
META = {"maml", "fomaml", "anil", "reptile", "meta_tts", "meta_tts_personal"}
POOLED = {"meta_tts_centralised", "meta_tts_personal_centralised"}


def phase(moves: Moves, steps: int, private: bool = False) -> Phase:
    return Phase(moves=moves, material=Utterances.ALL, steps=lambda _: steps, private=private)


def kinds_that(fact: str) -> set[str]:
    return {name for name, kind in SHIPPED.items() if getattr(kind, fact)}


def test_the_facts_of_every_kind_that_ships() -> None:
    assert kinds_that("federates") == {"fedavg", "fedper", "fedrep", "full"} | META
    assert kinds_that("shares_everything") == {"full"}
    assert kinds_that("pools_recordings") == {"centralised"} | POOLED
    assert kinds_that("sends_personal") == {"full", "centralised"} | POOLED
    voices = {"fedper", "full", "local", "centralised"} | META | POOLED
    assert kinds_that("trains_voice_without_noise") == voices - {"anil"}
    assert kinds_that("newcomers") == kinds_that("adapts_by_sgd") == META | POOLED


def test_a_voice_is_spared_if_dp_sgd_takes_the_place_of_every_phase_that_moves_it() -> None:
    shared = phase(Moves.SHARED, 1)
    private, plain = phase(Moves.PERSONAL, 1, private=True), phase(Moves.PERSONAL, 1)
    assert not Algorithm(description="", inner=private, outer=shared).trains_voice_without_noise
    assert Algorithm(description="", inner=plain, outer=shared).trains_voice_without_noise
    assert Algorithm(description="", inner=private, outer=phase(Moves.BOTH, 1)).trains_voice_without_noise


@pytest.mark.parametrize(("order", "steps"), [(0, 3 + 5), (1, 5 * (3 + 1)), (2, 5 * (3 + 1))])
def test_from_order_1_on_every_outer_step_has_an_inner_loop(order: int, steps: int) -> None:
    kind = Algorithm(
        description="", inner=phase(Moves.PERSONAL, 3), outer=phase(Moves.SHARED, 5), order=order  # type: ignore[arg-type]
    )  # fmt: skip
    assert kind.local_steps(tiny_recipe()) == steps
    assert Algorithm(description="", outer=phase(Moves.SHARED, 5)).local_steps(tiny_recipe()) == 5


def test_orders_that_nothing_could_compute_are_refused() -> None:
    with pytest.raises(ValueError, match="inner phase"):
        Algorithm(description="", outer=phase(Moves.SHARED, 1), order=2)
    with pytest.raises(ValueError, match="no private phase"):
        Algorithm(
            description="",
            inner=phase(Moves.PERSONAL, 1, private=True),
            outer=phase(Moves.SHARED, 1),
            order=1,
        )


def test_layers_of_the_shared_set_are_named_by_what_moves_it_alone() -> None:
    with pytest.raises(ValueError, match="does not move it"):
        Phase(moves=Moves.PERSONAL, material=Utterances.ALL, steps=lambda _: 1, layers=("mel",))


def test_a_recipe_knows_its_algorithm_and_refuses_an_unknown_one() -> None:
    assert tiny_recipe(federation__algorithm="fedper").algorithm is ALGORITHMS["fedper"]
    with pytest.raises(
        RecipeError, match=r"no such algorithm, choose among 'fedavg', 'fedper'.*got 'fedprix'"
    ):
        tiny_recipe(federation__algorithm="fedprix")


def test_every_kind_is_described_in_the_list_of_fields() -> None:
    said = type(Recipe().federation).model_fields["algorithm"].description
    assert said is not None
    assert said.startswith("fedavg: shared set only; fedper: ")
    assert all(f"{name}: {kind.description}" in said for name, kind in SHIPPED.items())


@pytest.mark.parametrize("name", ["local", "centralised"])
def test_what_sends_no_updates_is_no_federation(name: str) -> None:
    with pytest.raises(
        RecipeError, match=f"'{name}' sends no updates to a server: choose among fedavg, fedper"
    ):
        tiny_recipe(federation__algorithm=name).refuse_without_updates()
    tiny_recipe().refuse_without_updates()


def test_a_recipe_that_shares_everything_goes_on_as_one_that_keeps_voices() -> None:
    assert tiny_recipe(federation__algorithm="full").keeping_voices() == tiny_recipe(
        federation__algorithm=DEFAULT
    )
    assert tiny_recipe(federation__algorithm="fedper").keeping_voices().federation.algorithm == "fedper"
