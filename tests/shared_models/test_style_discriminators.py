"""Meta-StyleSpeech's discriminators: the score by its formula, the prototypes by theirs, and padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from shared_models.style_discriminators import PhonemeDiscriminator, StyleDiscriminator

MASK = torch.arange(40)[None] < torch.tensor([[40], [25]])
ROWS = torch.tensor([2, 0])


def a_mel() -> torch.Tensor:
    return torch.randn(2, 40, 80, generator=torch.Generator().manual_seed(3)) * 2 - 5.5


def style() -> StyleDiscriminator:
    torch.manual_seed(1)
    return StyleDiscriminator(80, 8, 6, speakers=3).eval()


def test_what_is_padding_changes_no_score() -> None:
    phoneme, spoken = PhonemeDiscriminator(80, 8), torch.randn(2, 40, 8)
    judge, mel = style(), a_mel()
    other = torch.where(MASK[..., None], mel, torch.randn_like(mel))
    torch.testing.assert_close(judge(mel, MASK, ROWS), judge(other, MASK, ROWS))
    torch.testing.assert_close(phoneme(mel, spoken, MASK), phoneme(other, spoken, MASK))


def test_a_speakers_score_is_linear_in_its_own_prototype_alone() -> None:
    judge, mel = style(), a_mel()
    with torch.no_grad():
        judge.scale.fill_(1.5)
        judge.bias.fill_(0.25)
        before = judge(mel, MASK, ROWS)
        judge.prototypes[2] *= 3
        after = judge(mel, MASK, ROWS)
    torch.testing.assert_close(after[0] - 0.25, 3 * (before[0] - 0.25))
    assert after[1] == before[1]


def test_layers_are_of_spectral_norm_one() -> None:
    judge = style().train()
    for _ in range(60):
        judge(a_mel(), MASK, ROWS)
    judge.eval()
    for layer in [*judge.spectral, *judge.temporal, judge.projection, judge.attention.query]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() <= 1.01


def test_prototypes_are_classified_by_the_softmax_of_products() -> None:
    judge, styles = style(), torch.randn(2, 6, generator=torch.Generator().manual_seed(2))
    products = styles.double().numpy() @ judge.prototypes.detach().double().numpy().T
    expected = [float(-F.log_softmax(torch.tensor(products[n]), 0)[ROWS[n]]) for n in (0, 1)]
    torch.testing.assert_close(
        judge.classification_loss(styles, ROWS), torch.tensor(expected, dtype=torch.float32)
    )


def test_the_phonemes_are_heard_in_the_score() -> None:
    torch.manual_seed(2)
    judge, spoken, mel = PhonemeDiscriminator(80, 8), torch.randn(2, 40, 8), a_mel()
    assert not torch.allclose(judge(mel, spoken, MASK), judge(mel, spoken.roll(1, 0), MASK))
