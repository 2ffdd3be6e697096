"""The registry under concurrent enrolments, and what may change in a home."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_federation import tiny_recipe

from server.live.home import ServerHome
from server.live.limits import Buckets, Rate
from server.live.refusals import Refusals
from server.live.registry import Registry
from server.live.setup import Wanted, prepare
from shared_models.errors import EnrolmentError, ServiceError

FAR = 4_000_000_000


def _node(key: bytes, _: str) -> int:
    return 2**63 + key[0]


def test_one_secret_enrols_one_of_many_who_try_at_once(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r.sqlite")
    registry.invite(b"secret", FAR)

    def attempt(number: int) -> bool:
        try:
            registry.enrol(b"secret", bytes([number]), "n", "v", 50, _node)
        except EnrolmentError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1
    assert len(registry.devices()) == 1
    assert registry.open_invitations() == 0


def test_places_are_numbered_never_given_twice_and_end(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r.sqlite")
    for number in range(3):
        registry.invite(bytes([number]), FAR)
    assert registry.enrol(b"\0", b"a", "n", "v", 2, _node).member == 0
    registry.withdraw(b"a", "left")
    assert registry.enrol(b"\1", b"b", "n", "v", 2, _node).member == 1
    with pytest.raises(EnrolmentError, match="places taken"):
        registry.enrol(b"\2", b"c", "n", "v", 2, _node)
    # A refusal leaves the invitation open, and node ids beyond 2**63 come back whole.
    assert registry.open_invitations() == 1
    assert registry.roster() == {1: 2**63 + ord("b")}


def test_buckets_refill_and_forget() -> None:
    now = [0.0]
    buckets = Buckets(Rate(per_second=2.0, burst=3.0), most_peers=2, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    assert buckets.take("b")
    assert buckets.take("c")
    assert buckets.take("a", 3.0), "the oldest peer was forgotten"


def test_a_flood_of_refusals_is_counted_and_does_not_fill_the_disk(tmp_path: Path) -> None:
    refusals = Refusals(tmp_path / "refusals.jsonl")
    for _ in range(2000):
        refusals.note("kind", "reason", peer="p", path="/x" * 1000)
    assert refusals.counts["kind"] == 2000
    assert refusals.unwritten > 1000
    assert (tmp_path / "refusals.jsonl").stat().st_size < 1_000_000


def test_a_home_keeps_its_recipe_once_rounds_are_done(tmp_path: Path) -> None:
    home = ServerHome.at(tmp_path / "home")
    with pytest.raises(ServiceError, match="no server's home yet"):
        prepare(home, Wanted())
    first = prepare(home, Wanted(tiny_recipe(), ("voices.example.org:8443",), population=5))
    assert (first.listen, first.population) == ("0.0.0.0:8443", 5)
    assert prepare(home, Wanted()) == first
    # Devices hold a run to the recipe that it began with.
    assert prepare(home, Wanted(tiny_recipe(seed=8))).run != first.run
    home.checkpoints.mkdir()
    (home.checkpoints / "round-00001.safetensors").touch()
    with pytest.raises(ServiceError, match="recipe cannot change"):
        prepare(home, Wanted(tiny_recipe(seed=9)))
    with pytest.raises(ServiceError, match="population cannot change"):
        prepare(home, Wanted(population=6))
    moved = prepare(home, Wanted(addresses=("localhost:9000",)))
    assert (moved.listen, moved.address) == ("127.0.0.1:9000", "localhost:9000")
