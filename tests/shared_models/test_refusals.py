"""A refusal's kind survives the text that carries it, whatever stands around it."""

from __future__ import annotations

import pytest

from shared_models.errors import (
    DeclinedError,
    DivergedError,
    FedVoiceError,
    LacksAnchorError,
    RefusedError,
    ServerRolledBackError,
    StaleCopyError,
    StorageError,
)
from shared_models.refusals import Refusal, Refused


@pytest.mark.parametrize("kind", Refusal)
def test_a_refusal_is_read_as_it_was_written(kind: Refusal) -> None:
    refused = Refused(kind, "policy modes: [disk] is what it says")
    assert Refused.parse(str(refused)) == refused


def test_what_carries_it_may_put_words_before_it() -> None:
    assert Refused.parse("<class 'X'>:<'Exception raised: [declined] not now") == Refused(
        Refusal.DECLINED, "not now"
    )


@pytest.mark.parametrize("text", ["", "error 3", "DeclinedError: no", "[unknown] no", "[declined]no"])
def test_a_text_without_a_kind_is_a_failure(text: str) -> None:
    assert Refused.parse(text) == Refused(Refusal.FAILED, text)


def test_every_error_has_its_kind() -> None:
    kinds = {
        FedVoiceError: Refusal.FAILED, DeclinedError: Refusal.DECLINED, StorageError: Refusal.DISK,
        ServerRolledBackError: Refusal.SERVER_ROLLED_BACK, StaleCopyError: Refusal.DEVICE_ROLLED_BACK,
        DivergedError: Refusal.DIVERGED, LacksAnchorError: Refusal.LACKS_ANCHOR,
    }  # fmt: skip
    assert {error: error("x").refusal for error in kinds} == kinds
    assert RefusedError(Refusal.DISK, "x").refusal is Refusal.DISK
