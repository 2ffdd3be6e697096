"""What the gate makes of a request's headers: whose it is, whether it came before, and what the operator may set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.live.admission import gate_options
from server.live.call_numbers import SeenNumbers
from server.live.forwarded import networks, peer_of
from server.live.home import ServerHome
from shared_models.errors import ServiceError


@given(st.lists(st.integers(0, 400), max_size=600))
def test_no_number_of_a_device_counts_twice(numbers: list[int]) -> None:
    seen = SeenNumbers()
    let_through = [number for number in numbers if seen.take(b"key", number)]
    assert len(let_through) == len(set(let_through))
    assert seen.take(b"other key", 7)


@given(st.permutations(range(100)))
def test_calls_that_overtake_one_another_count_once_each(order: list[int]) -> None:
    seen = SeenNumbers()
    for group in range(0, 100_000, 100):
        assert group > 300 or all(seen.take(b"key", group + number) for number in order)
        assert seen.take(b"key", group + 1000)
    assert not seen.take(b"key", 5), "forgotten one by one, and refused all the same"


def test_what_is_remembered_of_a_device_is_bounded() -> None:
    seen = SeenNumbers()
    for number in range(5000):
        assert seen.take(b"key", number)
    window = seen._devices[b"key"]
    assert len(window._seen) == len(window._smallest_first) == 256


PROXIES = networks(["10.0.0.5", "192.168.7.0/24", "fd00::/8"])
_addresses = st.ip_addresses().map(str)


@given(_addresses, _addresses)
def test_nobody_but_a_proxy_says_whose_request_it_is(client: str, claimed: str) -> None:
    told = [(b"x-forwarded-for", claimed.encode())]
    assert peer_of(client, told, ()) == client
    assert peer_of("203.0.113.7", told, PROXIES) == "203.0.113.7"


@given(st.lists(st.text("0123456789abc.:, x", max_size=20), max_size=3), _addresses)
def test_what_a_peer_writes_before_the_proxys_word_is_of_no_consequence(
    written: list[str], true: str
) -> None:
    told = [(b"x-forwarded-for", ",".join([*written, true]).encode())]
    found = peer_of("10.0.0.5", told, networks(["10.0.0.5"]))
    assert found == true or true == "10.0.0.5"


def test_proxies_one_behind_the_other() -> None:
    told = [(b"x-forwarded-for", b"6.6.6.6, 203.0.113.7"), (b"x-forwarded-for", b" 192.168.7.9")]
    assert peer_of("10.0.0.5", told, PROXIES) == "203.0.113.7"
    assert peer_of("10.0.0.5", [(b"x-forwarded-for", b"nonsense")], PROXIES) == "10.0.0.5"
    assert peer_of("unknown", told, PROXIES) == "unknown"


def test_what_gate_json_says_counts_or_is_refused(tmp_path: Path) -> None:
    home = ServerHome(tmp_path)
    assert (gate_options(home).proxies, gate_options(home).takeover_seconds) == ((), 8.0)
    path = home.path("gate.json")
    chosen = {"proxies": ["10.0.0.0/8"], "stranger_burst": 7, "head_seconds": 4, "takeover_seconds": 2}
    path.write_text(json.dumps(chosen))
    options = gate_options(home)
    assert options.proxies == networks(["10.0.0.0/8"])
    assert (options.limits.stranger.burst, options.limits.head_seconds) == (7.0, 4.0)
    assert options.takeover_seconds == 2.0
    for wrong in (
        "{", "[1]", '{"proxies": "10.0.0.5"}', '{"proxies": ["proxy.example.org"]}', '{"proxy": ["10.0.0.5"]}',
        '{"stranger_burst": "many"}',
    ):  # fmt: skip
        path.write_text(wrong)
        with pytest.raises(ServiceError, match=r"gate\.json"):
            gate_options(home)
