"""Join codes survive what people do to them, and nothing else passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_models.errors import EnrolmentError
from shared_models.join_code import PREFIX, JoinCode, host_and_port

CODE = JoinCode("voices.example.org:8443", bytes(range(32)), bytes(range(16)), 2_000_000_000)


def test_a_code_comes_back_as_it_was() -> None:
    assert JoinCode.parse(CODE.text(), now=0) == CODE
    six = JoinCode("[2001:db8::1]:8443", CODE.fingerprint, CODE.secret, CODE.expires_at)
    assert JoinCode.parse(six.text(), now=0) == six


def test_what_mail_and_people_do_to_it_does_no_harm() -> None:
    text = CODE.text()
    for mangled in (text.lower(), f"  {text}\n", text[:30] + "\n" + text[30:60] + " " + text[60:]):
        assert JoinCode.parse(mangled, now=0) == CODE


@given(st.integers(min_value=0), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_every_typo_is_noticed(place: int, letter: str) -> None:
    text = CODE.text()
    at = len(PREFIX) + place % (len(text) - len(PREFIX))
    wrong = text[:at] + letter + text[at + 1 :]
    if wrong != text:
        with pytest.raises(EnrolmentError, match="not a whole join code"):
            JoinCode.parse(wrong, now=0)


@pytest.mark.parametrize(
    "text", ["", "hello", PREFIX, CODE.text()[:-3], CODE.text()[3:], PREFIX + "é" * 40, "A" * 10_000]
)
def test_what_is_no_code_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(EnrolmentError, match="not a whole join code"):
        JoinCode.parse(text, now=0)


def test_an_expired_code_says_so() -> None:
    with pytest.raises(EnrolmentError, match="expired"):
        JoinCode.parse(CODE.text(), now=CODE.expires_at)


def test_secrets_are_fresh() -> None:
    one, other = (JoinCode.new("localhost:1", CODE.fingerprint, 60.0) for _ in range(2))
    assert one.secret != other.secret


@pytest.mark.parametrize(
    "address", ["host", "host:", ":1", "host:0", "host:65536", "a b:1", "::1:5", "u@h:1", "h/x:1"]
)
def test_addresses_are_checked(address: str) -> None:
    with pytest.raises(EnrolmentError, match="not an address"):
        host_and_port(address)
