"""The real model's per-utterance gradients, batched and padded, are those of its utterances one by one."""

from __future__ import annotations

import warnings

import pytest
import torch
from tiny_federation import in_float64
from torch import Tensor

from client.learning.dp_sgd import make_private
from client.learning.private_adaptation import only_personal_trains
from shared_models.acoustic import build_model
from shared_models.config import Recipe
from shared_models.features import Features, collate
from shared_models.losses import acoustic_loss
from shared_models.partition import PartitionedModel
from shared_models.speakers.adaptation import ADAPTATIONS


def _utterance(number: int, seed: torch.Generator, aligned: bool) -> Features:
    phonemes = 5 + 2 * number
    durations = torch.randint(1, 6, (phonemes,), generator=seed)
    frames = int(durations.sum())
    return Features(
        utterance_id=str(number),
        phonemes=torch.randint(1, 40, (phonemes,), generator=seed),
        mel=torch.randn(frames, 80, generator=seed),
        log_f0=torch.randn(frames, generator=seed),
        voiced=torch.rand(frames, generator=seed) > 0.3,
        energy=torch.randn(frames, generator=seed),
        durations=durations if aligned else None,
    )


@pytest.mark.parametrize(
    ("aligned", "adaptation"),
    [*((True, kind) for kind in sorted(ADAPTATIONS)), (False, "vectors"), (False, "maps")],
)
def test_batched_gradients_are_those_of_one_utterance_at_a_time(aligned: bool, adaptation: str) -> None:
    seed = torch.Generator().manual_seed(1)
    recipe = Recipe().override({"speaker.personal": adaptation, "model.hidden": 32, "model.filter": 64})
    partitioned = PartitionedModel(build_model(recipe, 1))
    # In float64, because padding changes the order of float32's roundings.
    model = partitioned.model.double().eval()  # without dropout, which would draw differently in a batch
    personal, tables = only_personal_trains(partitioned), partitioned.personal_parameters()
    for table in tables:
        table.data.normal_(0, 0.1, generator=seed)
    utterances = [_utterance(number, seed, aligned) for number in range(4)]

    def losses(indices: list[int]) -> Tensor:
        items = [utterances[index] for index in indices]
        batch = in_float64(collate(items, references=None))
        output = model(batch, window=None)
        return acoustic_loss(output, batch, per_utterance=True, weights=recipe.aligner).total

    alone = [torch.autograd.grad(losses([index]).sum(), tables) for index in range(4)]
    hooked, _ = make_private(
        personal, torch.optim.SGD(tables, lr=1.0),
        noise_multiplier=1.0, clipping_norm=1.0, expected_batch=4, generator=None,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        torch.autograd.backward(losses([0, 1, 2, 3]).sum())
    # Attention does not depend on the bias of its keys, which has rounding for a gradient.
    least = 1e-9 * max(float(gradient.norm()) for gradient in alone[0])
    seen = 0
    for position, table in enumerate(tables):
        found = table.grad_sample  # type: ignore[attr-defined]
        for index in range(4):
            expected = alone[index][position]
            norm = float(expected.norm())
            assert float((found[index] - expected).norm()) <= 1e-5 * max(norm, least)
            other = alone[(index + 1) % 4][position]
            if norm > least:
                seen += 1
                assert float((found[index] - other).norm()) > 1e-3 * norm
    assert seen >= 0.9 * 4 * len(tables)
    hooked.to_standard_module()
