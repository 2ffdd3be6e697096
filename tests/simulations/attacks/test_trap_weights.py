"""Trap weights read frames where nothing protects, and none through any one of what protects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_federation import features_of_tests

from simulations.attacks.trap_weights import FRAMES, TrapWeights, trap_weights


def judge(found: Sequence[TrapWeights], speakers: int) -> None:
    rows = {row.case: row for row in found}
    bare = rows["no protection"]
    assert bare.frames == speakers * FRAMES
    assert bare.read >= 0.1 * bare.frames, "an attack that reads nothing anyway shows no protection"
    assert bare.median_error < bare.guess
    for row in found:
        assert row.read_under_noise == 0, row.case
    assert rows["floors and ceilings alone, met"].read == 0
    assert rows["weights within reach, otherwise none"].read == 0
    assert not rows["weights within reach, otherwise none"].declined
    shipped, met = rows["as shipped"], rows["as shipped, floors met"]
    for row, field in ((shipped, "minimum_batch"), (met, "weights_reach")):
        assert row.read == 0
        assert sum(row.declined.values()) == speakers
        assert all(field in reason for reason in row.declined)


@pytest.mark.slow
def test_frames_of_embedded_voices_are_read_where_nothing_protects() -> None:
    judge(trap_weights("embedded", 2, features_of_tests()), 2)


@pytest.mark.slow
@pytest.mark.realspeech
def test_frames_of_real_speech_are_read_where_nothing_protects(speech_path: Path) -> None:
    judge(trap_weights(str(speech_path), 3, features_of_tests()), 3)
