"""The losses of speaker encoders against their definitions, written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from shared_models.speakers.encoders.losses import AAMSoftmaxLoss, GE2ELoss, SoftmaxLoss, build_loss

N, M, E = 4, 3, 5
LABELS = torch.tensor([6, 0, 2, 3])


def embeddings(seed: int = 0) -> torch.Tensor:
    return torch.randn(N, M, E, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def cross_entropy(scores: np.ndarray, right: int) -> float:
    return float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[right])


def test_softmax_is_the_cross_entropy_of_a_linear_map() -> None:
    loss = SoftmaxLoss(E, 7).double()
    w, b = loss.linear.weight.detach().numpy(), loss.linear.bias.detach().numpy()
    e = embeddings().numpy()
    each = [cross_entropy(w @ e[n, m] + b, int(LABELS[n])) for n in range(N) for m in range(M)]
    assert loss(embeddings(), LABELS).item() == pytest.approx(np.mean(each), rel=1e-10)


@pytest.mark.parametrize("margin", [0.2, 1.5])
def test_the_margin_is_added_to_the_angle(margin: float) -> None:
    loss = AAMSoftmaxLoss(E, 7, margin=margin, scale=30.0).double()
    w, e, each, beyond = loss.weight.detach().numpy(), embeddings().numpy(), [], 0
    for n in range(N):
        for m in range(M):
            scores = np.array([cosine(e[n, m], w[s]) for s in range(7)])
            angle = math.acos(scores[int(LABELS[n])])
            beyond += angle + margin > math.pi
            within = math.cos(angle + margin)
            scores[int(LABELS[n])] = (
                within if angle + margin < math.pi else math.cos(angle) - math.sin(margin) * margin
            )
            each.append(cross_entropy(30 * scores, int(LABELS[n])))
    assert loss(embeddings(), LABELS).item() == pytest.approx(np.mean(each), rel=1e-9)
    assert (beyond > 0) == (margin == 1.5)


def test_without_a_margin_it_is_a_scaled_cosine_and_a_margin_costs() -> None:
    torch.manual_seed(0)
    losses = {m: AAMSoftmaxLoss(E, 7, margin=m).double() for m in (0.0, 0.1, 0.4)}
    for loss in losses.values():
        loss.load_state_dict(losses[0.0].state_dict())
    costs = [loss(embeddings(), LABELS).item() for loss in losses.values()]
    assert costs == sorted(costs)
    assert costs[0] < costs[2]


@pytest.mark.parametrize("form", ["softmax", "contrast"])
def test_ge2e_leaves_an_utterance_out_of_its_own_centroid(form: str) -> None:
    loss, e, each = GE2ELoss(form).double(), embeddings().numpy(), []  # type: ignore[arg-type]
    for n in range(N):
        for m in range(M):
            others = np.delete(e[n], m, axis=0).mean(0)
            centres = [others if k == n else e[k].mean(0) for k in range(N)]
            similar = np.array([10 * cosine(e[n, m], c) - 5 for c in centres])
            likely = 1 / (1 + np.exp(-similar))
            contrast = 1 - likely[n] + np.delete(likely, n).max()
            each.append(cross_entropy(similar, n) if form == "softmax" else contrast)
    assert loss(embeddings(), LABELS).item() == pytest.approx(np.mean(each), rel=1e-6)


def test_ge2e_learns_its_scale_which_stays_positive() -> None:
    """In public programs the scale is no leaf and never learnt, or is clamped out of place and may turn negative."""
    loss = GE2ELoss()
    optimizer = torch.optim.SGD(loss.parameters(), lr=1e3)
    worst = -embeddings().float()
    worst[:, 0] *= -1
    for _ in range(3):
        optimizer.zero_grad()
        loss(worst, LABELS).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss.log_scale.item() != pytest.approx(math.log(10.0))
    assert loss.log_scale.exp().item() >= 0
    assert len(list(loss.parameters())) == 2


@pytest.mark.parametrize("kind", ["softmax", "aam", "ge2e"])
def test_right_embeddings_cost_less_than_wrong_ones(kind: str) -> None:
    torch.manual_seed(1)
    loss = build_loss(kind, 7, 7)  # type: ignore[arg-type]
    for name, parameter in loss.named_parameters():
        if parameter.shape == (7, 7):
            parameter.data = torch.eye(7)
        elif name.endswith("bias"):
            parameter.data.zero_()
    right = torch.eye(7)[LABELS][:, None].repeat(1, M, 1)
    wrong = right[[1, 2, 3, 0]].clone()
    wrong[:, 0] = right[:, 0]
    assert loss(right, LABELS) < loss(wrong, LABELS)
