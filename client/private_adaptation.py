"""Adapting a voice by DP-SGD: what the voice's parameters say of any one utterance is bounded.

Nothing but the noised gradients may depend on the recordings. So there are no references here, neither in
training nor in the resulting voice: an embedding that the reference encoder hears in an utterance would be
a release of its own. The voice starts as nobody's and is trained, table and offsets alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from client.ledger import Ledger, Spend
from client.personal_privacy import PersonalDP, dp_sgd_steps, noise_multiplier_for_personal
from client.training import VoicePartition
from shared_models.accounting import SampledGaussian
from shared_models.config import Recipe
from shared_models.features import Features, collate
from shared_models.losses import acoustic_loss


def private_steps(
    model: VoicePartition,
    utterances: Sequence[Features],
    recipe: Recipe,
    *,
    steps: int,
    total_steps: int,
    lr: float,
    ledger: Path,
    purpose: str,
    run: str,
    round_number: int,
    generator: torch.Generator | None,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train the personal set for ``steps`` of ``total_steps`` private steps and say what that spent.

    The noise is what the recipe names, or what its epsilon needs over ``total_steps``. The cost is in the
    device's ledger before the first step. Raises :class:`BudgetError` if the budget does not allow it.
    """
    settings = _settings(recipe, len(utterances), steps, total_steps)
    privacy = recipe.personal_privacy
    book = Ledger(ledger, privacy.epsilon, privacy.delta)
    voices = model.model.voices
    for parameter in model.shared_parameters():
        parameter.requires_grad_(False)
    voices.requires_grad_(True)
    optimizer = torch.optim.Adam(voices.parameters(), lr=lr, betas=(0.9, 0.99))

    def reserve(cost: SampledGaussian) -> None:
        book.reserve(
            Spend(
                mechanism="DP-SGD",
                noise_multiplier=cost.noise_multiplier,
                sampling_probability=cost.sampling_probability,
                steps=cost.steps,
                unit="utterance",
                run=run,
                round=round_number,
                purpose=purpose,
            )
        )

    def losses(chosen: list[int]) -> Tensor:
        items = [utterances[index] for index in chosen]
        batch = collate(items, [item.mel[:0] for item in items])
        output = model.model(batch, window=recipe.client.window_frames, generator=generator)
        return acoustic_loss(output, batch, per_utterance=True, weights=recipe.aligner).total

    dp_sgd_steps(voices, optimizer, losses, settings, reserve=reserve, generator=generator, progress=on_step)
    return {
        "unit": "utterance",
        "epsilon": book.spent(),
        "delta": privacy.delta,
        "noise_multiplier": settings.noise_multiplier,
        "clipping_norm": settings.clipping_norm,
        "sampling_probability": settings.sampling_probability,
        "steps": steps,
        "mechanism": "DP-SGD (Poisson-subsampled Gaussian), composed over everything in the device's ledger",
    }


def _settings(recipe: Recipe, utterances: int, steps: int, total_steps: int) -> PersonalDP:
    privacy = recipe.personal_privacy
    batch = min(recipe.client.batch_size, utterances)
    noise = privacy.noise_multiplier
    if noise is None:
        assert privacy.epsilon is not None  # the recipe's own validation
        noise = noise_multiplier_for_personal(privacy.epsilon, privacy.delta, batch / utterances, total_steps)
    return PersonalDP(noise, privacy.clipping_norm, utterances, batch, steps)
