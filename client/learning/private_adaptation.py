"""Adapting a voice by DP-SGD: what the voice's parameters say of any one utterance is bounded.

Only the noised gradients may depend on the recordings. So there are no references, neither in training nor in the
resulting voice: the reference encoder's embedding of an utterance would be a release of its own. The voice starts as
the voice of nobody, and only its personal set is trained.

Each utterance's loss is a function of that utterance and of the weights alone, whatever the recipe says of training
without privacy: it is computed alone, whole and without dropout. A mask or a window that a seed draws for a batch would
change with the number and the lengths of the utterances in it. Leaving one out would then change the gradients of the
others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from client.home.ledger import Ledger, Spend
from client.learning.material import on_device
from client.learning.personal_terms import PersonalTerms
from client.task import Task
from shared_models.accelerator import Accelerator
from shared_models.accounting import SampledGaussian, epsilon_of, noise_multiplier_for
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.algorithms.algorithm import Phase
from shared_models.config import Recipe
from shared_models.errors import PrivacyError
from shared_models.features import Features, collate
from shared_models.losses import acoustic_loss
from shared_models.optimization import adam

if TYPE_CHECKING:
    from client.learning.dp_sgd import PersonalDP

MECHANISM = "DP-SGD (Poisson-subsampled Gaussian)"
NOTHING_TO_PROTECT = (
    "with this recipe a voice trains nothing, so there is nothing for DP-SGD to protect: choose another "
    "speaker.personal than 'none', or leave personal privacy out"
)


def private_steps(
    phase: Phase,
    model: VoicePartition,
    utterances: Sequence[Features],
    task: Task,
    *,
    book: Ledger,
    purpose: str,
    times: int = 1,
    generator: torch.Generator | None,
    terms: PersonalTerms | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Take a private phase, which a run takes so many ``times`` at most, and say what is guaranteed of all of them.

    The noise is what the recipe names, or what the epsilon of ``terms`` (the recipe's if None) needs over all steps,
    and at least their minimum; None for ``generator`` draws it from the operating system. The cost is in ``book``
    before the first step. Raises :class:`BudgetError` if the budget of ``book`` does not allow it, and
    :class:`PrivacyError` where nothing is personal.
    """
    # Opacus takes two seconds to load, which a device that trains no voice privately need not wait for.
    from client.learning.dp_sgd import dp_sgd_steps

    if not model.personal_parameters():
        raise PrivacyError(NOTHING_TO_PROTECT)
    recipe, steps = task.recipe, phase.steps(task.recipe)
    total_steps = steps * times
    terms = terms or PersonalTerms.of(recipe)
    settings = _settings(recipe, terms, len(utterances), steps, total_steps)
    personal = only_personal_trains(model)
    there = on_device(utterances, model.device)
    optimizer = adam(model.personal_parameters(), phase.personal_rate(recipe, task.round), fused=False)

    def reserve(cost: SampledGaussian) -> None:
        book.reserve(
            Spend(
                mechanism="DP-SGD",
                noise_multiplier=cost.noise_multiplier,
                sampling_probability=cost.sampling_probability,
                steps=cost.steps,
                unit="utterance",
                run=task.run,
                round=task.round,
                purpose=purpose,
            )
        )

    def loss(chosen: list[int]) -> Tensor:
        batch = collate([there[index] for index in chosen], references=None)
        with Accelerator(model.device, recipe.engine.precision).autocast():
            output = model.model(batch, window=None)
        return acoustic_loss(
            output, batch, per_utterance=True, weights=recipe.aligner, error=recipe.losses.mel
        ).total

    with _nothing_dropped(model.model):
        dp_sgd_steps(
            personal, optimizer, loss, settings, reserve=reserve, generator=generator, progress=on_step
        )
    return _statement(recipe, terms, settings.noise_multiplier, total_steps)


def only_personal_trains(model: VoicePartition) -> nn.ModuleList:
    """Freeze all but the personal set, whatever modules it is in; those modules, as one."""
    for parameter in model.model.parameters():
        parameter.requires_grad_(False)
    for parameter in model.personal_parameters():
        parameter.requires_grad_(True)
    return nn.ModuleList(model.personal_modules())


@contextlib.contextmanager
def _nothing_dropped(model: nn.Module) -> Iterator[None]:
    """Within, every module is in evaluation mode; afterwards each is in the mode that it was in before."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _settings(
    recipe: Recipe, terms: PersonalTerms, utterances: int, steps: int, total_steps: int
) -> PersonalDP:
    from client.learning.dp_sgd import PersonalDP

    batch = min(recipe.client.batch_size, utterances)
    noise = recipe.personal_privacy.noise_multiplier
    if noise is None:
        assert terms.epsilon is not None  # the recipe's own validation
        noise = noise_multiplier_for(terms.epsilon, terms.delta, batch / utterances, total_steps)
    noise = max(noise, terms.minimum_noise_multiplier)
    return PersonalDP(noise, recipe.personal_privacy.clipping_norm, utterances, batch, steps)


def _statement(recipe: Recipe, terms: PersonalTerms, noise: float, total_steps: int) -> dict[str, Any]:
    """What may be told to whoever gets the voice: nothing in it depends on the recordings or on their number.

    The noise that a target needs, the sampling probability and what else the ledger holds depend on how many
    utterances there are and on what was done with them before, and nobody paid for telling that. So the epsilon is
    the target, or where the recipe names the noise, the bound that holds for any number of utterances.
    """
    named = recipe.personal_privacy.noise_multiplier is not None
    epsilon = epsilon_of([SampledGaussian(noise, 1.0, total_steps)], terms.delta) if named else terms.epsilon
    return {"unit": "utterance", "epsilon": epsilon, "delta": terms.delta, "mechanism": MECHANISM}
