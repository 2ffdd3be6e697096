"""One client's part of a round: inner loop on the support, outer loop on the query, and their update.

The loop is DESIGN's, of which FedAvg, FedPer, FedRep, full-model sharing and the aligner's warm-up are
choices of which parameters move in which steps. Everything random comes from the recipe's seed, the
round and the client, so a round that is trained again gives the same update.

Sources: FedPer, Arivazhagan 2019 (arXiv 1912.00818); FedRep, Collins 2021 (arXiv 2102.07078, Alg. 1);
FedProx, Li 2020 (arXiv 1812.06127, eq. 2); support and query as in Meta-TTS, Huang 2022 (arXiv 2111.04040).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shared_models import wire
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import ClientConfig, Recipe
from shared_models.features import Batch, Features, collate
from shared_models.losses import acoustic_loss, alignment_loss
from shared_models.optimization import descend
from shared_models.partition import PartitionedModel
from shared_models.seeds import derive_seed, generator

VoicePartition = PartitionedModel[VoiceModel]


@dataclass(frozen=True, slots=True)
class Material:
    """A device's utterances, split for meta-learning: adapt on the support, learn from the query."""

    support: Sequence[Features]
    query: Sequence[Features]

    @classmethod
    def split(cls, utterances: Sequence[Features], support_fraction: float) -> Material:
        """Every ``1/support_fraction``-th utterance is support; both parts get at least one."""
        n_support = min(max(1, round(len(utterances) * support_fraction)), max(1, len(utterances) - 1))
        chosen = {i * len(utterances) // n_support for i in range(n_support)}
        support = _Selection(utterances, sorted(chosen))
        query = _Selection(utterances, [i for i in range(len(utterances)) if i not in chosen])
        return cls(support, query if len(query) else support)


class _Selection(Sequence[Features]):
    """Some items of a lazily read sequence, still unread."""

    def __init__(self, items: Sequence[Features], indices: Sequence[int]) -> None:
        self._items = items
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._items[self._indices[index]]


@dataclass(slots=True)
class LocalRound:
    """What a client's round produced: the update for the server, the losses for its owner."""

    update: wire.Update | None = None
    """Shared weights after minus before, not yet clipped."""
    losses: dict[str, list[float]] = field(default_factory=lambda: {"inner": [], "outer": []})


def draw_batch(utterances: Sequence[Features], recipe: Recipe, rng: torch.Generator) -> Batch:
    """A batch without repetition, each utterance with another one of the speaker's as its reference."""
    size = min(recipe.client.batch_size, len(utterances))
    order = torch.randperm(len(utterances), generator=rng)[: max(size, 2)].tolist()
    items = [utterances[i] for i in order]
    # One place along: every reference is another utterance of the batch, already in memory.
    references = [item.mel for item in items[1:] + items[:1]][:size]
    cropped = [crop_reference(mel, recipe, rng) for mel in references]
    return collate(items[:size], cropped)


def crop_reference(mel: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """A random excerpt ``(R, n_mels)`` of a reference, or nothing at all (``reference_dropout``)."""
    if torch.rand((), generator=rng) < recipe.speaker.reference_dropout:
        return mel[:0]
    frames = min(recipe.speaker.reference_frames, len(mel))
    start = int(torch.randint(len(mel) - frames + 1, (), generator=rng))
    return mel[start : start + frames]


InnerLoop = Callable[[Sequence[Features], torch.Generator], list[float]]


def local_round(
    model: VoicePartition,
    weights: Tensor,
    material: Material,
    recipe: Recipe,
    round_number: int,
    client: int,
    inner_loop: InnerLoop | None = None,
) -> LocalRound:
    """Train one round from the shared ``weights`` ``(D,)``; the model's personal set is updated in place.

    ``inner_loop`` takes the place of :func:`personal_steps` on the support (DP-SGD does).
    """
    rng = generator(recipe.seed, "local", round_number, client)
    model.load_shared_vector(weights)
    model.model.train()
    result = LocalRound()
    with torch.random.fork_rng(devices=[]):
        # Dropout draws from torch's own generator.
        torch.manual_seed(derive_seed(recipe.seed, "dropout", round_number, client))
        if round_number <= recipe.aligner.warmup_rounds:
            result.losses["outer"] = align_steps(model, material.query, recipe, rng)
        else:
            if recipe.federation.algorithm == "fedrep" and recipe.client.inner_steps:
                inner = inner_loop or _plain_inner_loop(model, recipe)
                result.losses["inner"] = inner(material.support, rng)
            lr = outer_learning_rate(recipe, round_number)
            result.losses["outer"] = shared_steps(model, material.query, recipe, rng, weights, lr)
    result.update = wire.form_update(model, weights, round_number)
    return result


def _plain_inner_loop(model: VoicePartition, recipe: Recipe) -> InnerLoop:
    def loop(support: Sequence[Features], rng: torch.Generator) -> list[float]:
        steps, lr = recipe.client.inner_steps, recipe.client.inner_lr
        return personal_steps(model, support, recipe, rng, steps=steps, lr=lr)

    return loop


def personal_steps(
    model: VoicePartition,
    utterances: Sequence[Features],
    recipe: Recipe,
    rng: torch.Generator,
    *,
    steps: int,
    lr: float,
    on_step: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Adapt the personal set alone: the inner loop, and what cloning is. Returns the losses."""
    personal = model.personal_parameters()
    _require_grad(model, shared=False, personal=True)
    optimizer = torch.optim.Adam(personal, lr=lr, betas=(0.9, 0.99), fused=True)
    return _steps(model, utterances, recipe, rng, optimizer, personal, steps, on_step=on_step)


def outer_learning_rate(recipe: Recipe, round_number: int) -> float:
    """The shared set's learning rate in a round: rising at first (``client.warmup_rounds``), then constant, and
    falling in the end (``client.decay_from``)."""
    config, rounds = recipe.client, recipe.federation.rounds
    first = config.decay_from * rounds
    if round_number < config.warmup_rounds:
        return config.outer_lr * round_number / config.warmup_rounds
    if round_number <= first:
        return config.outer_lr
    left = (rounds - round_number) / (rounds - first)
    return config.outer_lr * max(0.05, left)


def shared_steps(
    model: VoicePartition,
    utterances: Sequence[Features],
    recipe: Recipe,
    rng: torch.Generator,
    weights: Tensor,
    lr: float,
) -> list[float]:
    """The outer loop: local steps on the shared set, and for FedPer on the personal set beside it."""
    with_personal = recipe.federation.algorithm == "fedper"
    shared = model.shared_parameters()
    personal = model.personal_parameters() if with_personal else []
    _require_grad(model, shared=True, personal=with_personal)
    optimizer = _outer_optimizer(shared, personal, recipe.client, lr)
    anchor = _anchor(model, weights) if recipe.federation.proximal_mu else None
    return _steps(
        model, utterances, recipe, rng, optimizer, [*shared, *personal], recipe.client.outer_steps,
        proximal=(recipe.federation.proximal_mu, shared, anchor) if anchor else None,
    )  # fmt: skip


def align_steps(
    model: VoicePartition, utterances: Sequence[Features], recipe: Recipe, rng: torch.Generator
) -> list[float]:
    """Steps on the aligner alone, which need neither encoder nor decoder and are several times cheaper."""
    _require_grad(model, shared=True, personal=False)
    optimizer = _outer_optimizer(model.shared_parameters(), [], recipe.client, recipe.client.outer_lr)
    losses = []
    for _ in range(recipe.client.outer_steps):
        alignment = model.model.align(draw_batch(utterances, recipe, rng))
        loss = alignment_loss(alignment, weights=recipe.aligner)
        losses.append(descend(loss, model.shared_parameters(), optimizer, recipe.client.gradient_clip))
    return losses


def _steps(
    model: VoicePartition,
    utterances: Sequence[Features],
    recipe: Recipe,
    rng: torch.Generator,
    optimizer: torch.optim.Optimizer,
    trained: list[torch.nn.Parameter],
    steps: int,
    proximal: tuple[float, list[torch.nn.Parameter], list[Tensor]] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[float]:
    losses = []
    for step in range(steps):
        batch = draw_batch(utterances, recipe, rng)
        loss = training_loss(model.model, batch, recipe, rng)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if proximal is not None:
            _add_proximal_pull(*proximal)
        torch.nn.utils.clip_grad_norm_(trained, recipe.client.gradient_clip)
        optimizer.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step + 1, steps)
    return losses


def training_loss(model: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """The mean loss of a batch under teacher forcing; aligner terms weighted by the recipe."""
    output = model(batch, window=recipe.client.window_frames, generator=rng)
    return acoustic_loss(output, batch, weights=recipe.aligner).total


def _outer_optimizer(
    shared: list[torch.nn.Parameter], personal: list[torch.nn.Parameter], config: ClientConfig, lr: float
) -> torch.optim.Optimizer:
    groups = [{"params": shared, "lr": lr}]
    if personal:
        groups.append({"params": personal, "lr": config.inner_lr})
    if config.outer_optimizer == "sgd":
        return torch.optim.SGD(groups, fused=True)
    return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)


def _require_grad(model: VoicePartition, *, shared: bool, personal: bool) -> None:
    for parameter in model.personal_parameters():
        parameter.requires_grad_(personal)
    # Last, since full-model sharing declares the personal set shared.
    for parameter in model.shared_parameters():
        parameter.requires_grad_(shared)


def _anchor(model: VoicePartition, weights: Tensor) -> list[Tensor]:
    return [weights[t.start : t.stop].view(t.shape) for t in model.partition.shared]


def _add_proximal_pull(mu: float, parameters: list[torch.nn.Parameter], anchor: list[Tensor]) -> None:
    # The gradient of mu/2 * ||w - w_round||^2.
    for parameter, start in zip(parameters, anchor, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - start, alpha=mu)
