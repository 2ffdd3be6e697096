"""The personal tables: a row a voice, all 0 at first."""

from __future__ import annotations

import pytest
import torch

from shared_models.errors import RecipeError
from shared_models.speakers.voice import VoiceTensor
from shared_models.speakers.voices import NOBODY, Voices

KEPT = [
    VoiceTensor("embedding", (4,), made_by="voice"),
    VoiceTensor("shift", (3, 2), made_by="maps", by_site=True),
]
SLOPED = VoiceTensor("slope", (2, 2), made_by="voice", start=lambda: torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def filled(count: int) -> Voices:
    voices = Voices(count, KEPT)
    with torch.no_grad():
        for table in voices.parameters():
            table.copy_(torch.arange(table.numel()).view(table.shape) + 1.0)
    return voices


def test_tables_start_at_zero_and_draw_no_random_numbers() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    voices = Voices(7, KEPT)
    assert torch.equal(torch.get_rng_state(), state)
    assert [name for name, _ in voices.named_parameters()] == ["embedding.weight", "shift.weight"]
    assert all(not table.any() for table in voices.parameters())
    assert sum(table.numel() for table in voices.parameters()) == 7 * (4 + 6)


def test_a_row_is_looked_up_in_its_shape() -> None:
    found = filled(3)(torch.tensor([2, 0]))
    assert found["embedding"].tolist() == [[9, 10, 11, 12], [1, 2, 3, 4]]
    assert found["shift"].tolist() == [[[13, 14], [15, 16], [17, 18]], [[1, 2], [3, 4], [5, 6]]]


def test_nobody_is_a_newcomer_and_moves_no_table() -> None:
    voices = filled(2)
    found = voices(torch.tensor([1, NOBODY]))
    assert not found["embedding"][1].any()
    assert not found["shift"][1].any()
    sum(kept.sum() for kept in found.values()).backward()
    for table in voices.parameters():
        assert table.grad is not None
        assert table.grad[1].all()
        assert not table.grad[0].any()


def test_starting_anew_empties_every_table() -> None:
    voices = filled(2)
    voices.reset()
    assert all(not table.any() for table in voices.parameters())


def test_a_table_may_begin_at_other_numbers_than_0_and_so_does_a_newcomer() -> None:
    voices = Voices(2, [SLOPED])
    assert voices(torch.tensor([1]))["slope"].tolist() == [[[1, 2], [3, 4]]]
    with torch.no_grad():
        voices.get_parameter("slope.weight").fill_(9.0)
    found = voices(torch.tensor([0, NOBODY]))["slope"]
    assert found.tolist() == [[[9, 9], [9, 9]], [[1, 2], [3, 4]]]
    voices.reset()
    assert voices(torch.tensor([0]))["slope"].tolist() == [[[1, 2], [3, 4]]]


def test_with_fewer_sites_what_is_by_site_keeps_theirs() -> None:
    kept = filled(2).at_sites([2, 0])
    assert kept["embedding.weight"].shape == (2, 4)
    assert kept["shift.weight"].tolist() == [[5, 6, 1, 2], [11, 12, 7, 8]]


def test_two_tables_of_one_name_are_refused() -> None:
    with pytest.raises(RecipeError, match="keep a 'embedding' of each voice"):
        Voices(1, [*KEPT, KEPT[0]])
