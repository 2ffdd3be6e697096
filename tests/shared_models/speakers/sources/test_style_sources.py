"""Style tokens, the basis and the codebook: against their definitions, and what each promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from heard_signals import model_of, references, speech
from torch import nn

from shared_models.speakers.heard import Heard
from shared_models.speakers.sources import vq
from shared_models.speakers.sources.basis import Basis
from shared_models.speakers.sources.frames import part_means
from shared_models.speakers.sources.reference_encoder import GatedRecurrence, ReferenceEncoder
from shared_models.speakers.sources.tokens import TOKENS, TokenAttention
from shared_models.speakers.sources.vq import CODES, Codebook


def source_of(kind: str) -> Any:
    return model_of(kind).model.eval().get_submodule(kind)


def heard_with(name: str, own: torch.Tensor, count: int = 2) -> Heard:
    heard = Heard.of(references(speech(count)))
    return Heard(heard.rows, heard.signals, {name: own})


def test_the_recurrence_is_torchs_gru_at_each_row_s_own_last_step() -> None:
    torch.manual_seed(0)
    ours, theirs = GatedRecurrence(5, 4), nn.GRU(5, 4, batch_first=True)
    parts = {"weight_ih_l0": ours.input.weight, "bias_ih_l0": ours.input.bias,
             "weight_hh_l0": ours.state.weight, "bias_hh_l0": ours.state.bias}  # fmt: skip
    theirs.load_state_dict(parts)
    x, lengths = torch.randn(3, 6, 5), torch.tensor([6, 2, 4])
    with torch.no_grad():
        expected = torch.stack([theirs(x[i : i + 1, :n])[1][0, 0] for i, n in enumerate(lengths.tolist())])
        torch.testing.assert_close(ours(x, lengths), expected)


def test_the_reference_encoder_has_the_published_size_and_halves_six_times() -> None:
    encoder = ReferenceEncoder(80)
    # 0.44 million with batch norms, which have as many numbers that train as layer norms over channels.
    assert sum(p.numel() for p in encoder.parameters()) == 435_552
    assert encoder.recurrent.input.in_features == 256


def test_attention_over_tokens_is_the_definition() -> None:
    torch.manual_seed(0)
    attention = TokenAttention(6, 8).double()
    query, own = torch.randn(2, 6).double(), torch.randn(2, attention.weights).double()
    tokens = np.tanh(attention.tokens.detach().numpy())
    wq, wk, wv = (m.weight.detach().numpy() for m in (attention.query, attention.key, attention.value))
    for row in range(2):
        q, k, v = wq @ query[row].numpy(), tokens @ wk.T, tokens @ wv.T
        heads = []
        for h in range(4):
            part = slice(2 * h, 2 * h + 2)
            scores = k[:, part] @ q[part] / np.sqrt(2) + own[row].numpy()[h * TOKENS : (h + 1) * TOKENS]
            weights = np.exp(scores) / np.exp(scores).sum()
            heads.append(weights @ v[:, part])
        found = attention(query, own)[row].detach().numpy()
        assert np.abs(found - np.concatenate(heads)).max() < 1e-10
    by_step = attention(query[:, None].expand(-1, 3, -1), own)
    torch.testing.assert_close(by_step, attention(query, own)[:, None].expand(-1, 3, -1))


def test_own_weights_choose_a_token() -> None:
    attention = TokenAttention(6, 8)
    own = torch.full((1, 4, TOKENS), -60.0)
    own[:, :, 3] = 60.0
    chosen = attention.value(torch.tanh(attention.tokens[3]))
    torch.testing.assert_close(attention(torch.randn(1, 6), own.flatten(1))[0], chosen)


def test_a_level_explains_what_the_levels_before_it_left() -> None:
    source = source_of("hierarchical_gst")
    own = torch.zeros(2, 3, source.weights)
    heard = heard_with("hierarchical_gst_weights", own)
    with torch.no_grad():
        levels = source.by_level(heard)
        mel = heard.signals["mel"]
        left = source.first(source.reference(mel.values, mel.lengths))
        for level, bank in enumerate(source.banks):
            expected = bank(left, own[:, level])
            torch.testing.assert_close(levels[:, level], expected)
            left = left - expected
        torch.testing.assert_close(source(heard).embedding, levels.sum(1))


def test_means_of_parts_are_of_each_row_s_own_steps() -> None:
    x = torch.arange(12.0).view(1, 12, 1).repeat(3, 1, 1)
    found = part_means(x, torch.tensor([12, 8, 2]), 4)[:, :, 0]
    torch.testing.assert_close(
        found, torch.tensor([[1.0, 4.0, 7.0, 10.0], [0.5, 2.5, 4.5, 6.5], [0.0, 0.0, 1.0, 1.0]])
    )


# The basis


def test_the_basis_becomes_orthogonal() -> None:
    basis: Basis = source_of("basis")
    with torch.no_grad():
        basis.vectors.copy_(torch.randn(basis.vectors.shape) + 2.0)
    unit = nn.functional.normalize(basis.vectors.detach(), dim=1)
    expected = ((unit @ unit.T - torch.eye(len(unit))) ** 2).mean()
    assert basis.coherence().item() == pytest.approx(expected.item(), rel=1e-5)
    assert 0.3 < basis.coherence().item() < 1
    optimizer = torch.optim.Adam([basis.vectors], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        basis.coherence().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    unit = nn.functional.normalize(basis.vectors.detach(), dim=1)
    cosines = unit @ unit.T
    assert float((cosines - torch.eye(len(cosines))).abs().max()) < 0.02


def test_a_new_voice_is_its_weights_over_the_basis() -> None:
    source: Basis = source_of("basis")
    wanted = torch.randn(1, len(source.vectors), generator=torch.Generator().manual_seed(0)).softmax(1)
    alone = Heard(torch.zeros(1, dtype=torch.int64), {}, {"basis_weights": wanted.log()})
    with torch.no_grad():
        source.query.bias.zero_()
        torch.testing.assert_close(source(alone).embedding, wanted @ source.vectors)


# The codebook


def test_gradients_pass_straight_through_the_codes() -> None:
    torch.manual_seed(0)
    codebook = Codebook(6)
    styles = torch.randn(2, 5, 6, requires_grad=True)
    mask = torch.ones(2, 5, dtype=torch.bool)
    codes, _ = codebook(styles, mask)
    nearest = (
        styles.detach()[:, :, None] / styles.detach().norm(dim=2)[:, :, None, None] - codebook.unit
    ).norm(dim=3)
    torch.testing.assert_close(codes.detach(), codebook.unit[nearest.argmin(2)].detach())
    weights = torch.randn(2, 5, 6)
    (through,) = torch.autograd.grad((codes * weights).sum(), styles)
    (plain,) = torch.autograd.grad((nn.functional.normalize(styles, dim=2) * weights).sum(), styles)
    torch.testing.assert_close(through, plain)


def trained_usage(diversity: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """The share of codes that styles around 100 directions use, after training from a codebook in one corner."""
    monkeypatch.setattr(vq, "DIVERSITY", diversity)
    rng = torch.Generator().manual_seed(0)
    directions = torch.randn(100, 8, generator=rng)
    torch.manual_seed(0)
    codebook = Codebook(8)
    with torch.no_grad():
        codebook.codes.copy_(torch.tensor([3.0, *[0.0] * 7]) + 0.1 * torch.randn(CODES, 8, generator=rng))
    optimizer = torch.optim.Adam(codebook.parameters(), lr=0.02)
    mask = torch.ones(4, 100, dtype=torch.bool)
    for _ in range(250):
        chosen = torch.randint(100, (4, 100), generator=rng)
        styles = directions[chosen] + 0.1 * torch.randn(4, 100, 8, generator=rng)
        optimizer.zero_grad()
        codebook(styles, mask)[1].mean().backward()
        optimizer.step()
    return len(codebook.chosen(directions[None]).unique()) / CODES


def test_far_more_than_half_of_the_codes_are_used_thanks_to_the_protection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promised = vq.DIVERSITY
    collapsed = trained_usage(0.0, monkeypatch)
    held = trained_usage(promised, monkeypatch)
    assert collapsed < 0.6
    assert held > max(0.7, collapsed + 0.2)


def test_the_penalty_is_of_an_utterance_s_own_steps() -> None:
    torch.manual_seed(0)
    codebook = Codebook(6)
    styles = torch.randn(1, 5, 6)
    padded = torch.cat([styles, torch.full((1, 3, 6), 9.0)], dim=1)
    short = codebook(styles, torch.ones(1, 5, dtype=torch.bool))[1]
    torch.testing.assert_close(codebook(padded, torch.arange(8)[None] < 5)[1], short)
