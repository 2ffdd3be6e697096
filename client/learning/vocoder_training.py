"""Training a vocoder on wave segments, step by step: the same on a device as where speech is pooled.

One forward of the discriminators serves both sides of the game. The generated wave enters them as a leaf,
so what they teach the generator is a gradient at that leaf and can reach nothing else, and their own step
takes its gradients from the same pass. That is two passes where the usual order makes four.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from client.learning.vocoder_figures import GRADIENT, Figures
from shared_models.audio.mel import HOP
from shared_models.audio.wave_segments import WaveSegments
from shared_models.config import VocoderConfig
from shared_models.errors import CheckpointError
from shared_models.optimization import load_moments, moments
from shared_models.seeds import generator as random_generator
from shared_models.vocoders.adversarial_losses import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    mel_loss,
    multi_resolution_stft_loss,
)
from shared_models.vocoders.adversarial_model import Discriminators
from shared_models.vocoders.diffwave import DiffWave, NoisyWaves
from shared_models.vocoders.discriminators import Judgement
from shared_models.vocoders.magnitude import CONVERGENCE_WEIGHT, MagnitudeNetwork


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one family of discriminators makes of a step."""

    gradient: Tensor
    """Of the weighted adversarial and feature losses at the generated wave ``(B, samples)``."""
    figures: Figures


class VocoderTrainer:
    """A generator, its averaged copy, its discriminators and their optimizers.

    Example::

        trainer = VocoderTrainer(Vocos(), config, seed=1)
        for number in range(1, config.steps + 1):
            losses = trainer.step(segments, number)
            told_figures({number: losses})  # or of many steps at once
        trainer.average  # the weights to keep
    """

    def __init__(
        self,
        generator: nn.Module,
        config: VocoderConfig,
        seed: int,
        discriminators: nn.ModuleList | None = None,
    ) -> None:
        """Trains ``generator`` in place, and ``discriminators``, which are made from ``seed`` if not given.

        Given ones are one family for each of ``config.families``, in that order.
        """
        self.generator = generator
        self.average = copy.deepcopy(generator).requires_grad_(False).eval()
        self.config = config
        self.seed = seed
        device = next(generator.parameters()).device
        judges = Discriminators(config, seed) if discriminators is None else discriminators
        self.discriminators = judges.to(device)
        self.weights = config.discriminator_weights or (1.0,) * len(config.families)
        self._generator_optimizer = self._optimizer(generator, config.generator_lr)
        self._judge_optimizer = self._optimizer(judges, config.discriminator_lr) if len(judges) else None

    def step(self, segments: WaveSegments, number: int) -> Figures:
        """Train on ``segments`` as step ``number`` (from 1) of the recipe's; the losses by name, still unread.

        Nothing but the arguments and the state decides the outcome, so a resumed training repeats it. Whether a loss
        is finite shows when it is read (:func:`client.learning.vocoder_figures.told_figures`): before anything that
        came of the steps is kept or sent.
        """
        self.generator.train()
        self._set_learning_rates(number)
        segments = segments.to(next(self.generator.parameters()).device)
        if isinstance(self.generator, DiffWave):
            return self._denoise(self.generator, segments, number)
        if isinstance(self.generator, MagnitudeNetwork):
            return self._match_magnitudes(self.generator, segments, number)
        generated, real = self._inside(self.generator(segments.mel)), self._inside(segments.wave)
        distance, figures = self._distances(generated, real, number)
        pull = None
        if len(self.discriminators) and number >= self.config.adversarial_from:
            verdict = self._judge(generated.detach(), real, number)
            pull = verdict.gradient
            figures |= verdict.figures
        return self._learn(distance, figures, number, generated, pull)

    def _denoise(self, generator: DiffWave, segments: WaveSegments, number: int) -> Figures:
        """A diffusion model has a loss of its own, and nobody to convince."""
        noisy = NoisyWaves.of(segments.wave, random_generator(self.seed, "vocoder noise", number))
        size = self.config.segments_at_once or len(noisy)
        self._generator_optimizer.zero_grad(set_to_none=True)
        shares = []
        for waves, mel in zip(noisy.split(size), torch.split(segments.mel, size), strict=True):
            share = generator.training_loss(waves, mel) * (len(waves) / len(noisy))
            shares.append(share.detach())
            torch.autograd.backward(share)
        return self._move({"noise": torch.stack(shares)}, number)

    def _match_magnitudes(self, generator: MagnitudeNetwork, segments: WaveSegments, number: int) -> Figures:
        """Nor has a predictor of magnitudes, which says nothing about phase."""
        log, convergence = generator.distances(segments.wave, segments.mel, self.config.context_frames)
        figures = {"log_magnitude": log.detach(), "convergence": convergence.detach()}
        return self._learn(log + CONVERGENCE_WEIGHT * convergence, figures, number)

    def _learn(
        self,
        loss: Tensor,
        figures: Figures,
        number: int,
        generated: Tensor | None = None,
        pull: Tensor | None = None,
    ) -> Figures:
        """One step of the generator down ``loss``, and down ``pull`` at the wave it generated."""
        self._generator_optimizer.zero_grad(set_to_none=True)
        if generated is None or pull is None:
            torch.autograd.backward(loss)
        else:
            torch.autograd.backward([loss, generated], [None, pull])
        return self._move(figures, number)

    def _move(self, figures: Figures, number: int) -> Figures:
        """The generator's step along the gradient that it has, which ``figures`` gets the norm of."""
        figures[GRADIENT] = self._update(self.generator, self._generator_optimizer)
        self._follow(number)
        return figures

    def _inside(self, wave: Tensor) -> Tensor:
        """The segment without its context: near the edges a generator sees its own padding instead of speech."""
        context = self.config.context_frames * HOP
        return wave[:, context : wave.shape[1] - context]

    def _distances(self, generated: Tensor, real: Tensor, number: int) -> tuple[Tensor, Figures]:
        """The part of the generator's loss that needs no discriminator."""
        mel = mel_loss(generated, real)
        total, figures = self.config.mel_weight * mel, {"mel": mel.detach()}
        if number < self.config.adversarial_from or not len(self.discriminators):
            stft = multi_resolution_stft_loss(generated, real)
            total = total + self.config.stft_weight * stft
            figures["stft"] = stft.detach()
        return total, figures

    def _judge(self, generated: Tensor, real: Tensor, number: int) -> _Verdict:
        """Let the discriminators judge, and learn where it is their turn."""
        assert self._judge_optimizer is not None
        learning = number % self.config.discriminate_every == 0
        self.discriminators.train().requires_grad_(learning)
        leaf = generated.requires_grad_()
        of_generator, of_judges = leaf.new_zeros(()), leaf.new_zeros(())
        matching, lost = [], []
        for discriminator, weight in zip(self.discriminators, self.weights, strict=True):
            of_real: Judgement = discriminator(real)
            of_generated: Judgement = discriminator(leaf)
            adversarial = generator_loss(of_generated, self.config.adversarial)
            features = feature_matching_loss(of_real, of_generated)
            of_generator = of_generator + weight * (adversarial + self.config.feature_weight * features)
            if learning:
                of_judges = of_judges + discriminator_loss(of_real, of_generated, self.config.adversarial)
            matching.append(features.detach())
            lost.append(adversarial.detach())
        (gradient,) = torch.autograd.grad(of_generator, leaf, retain_graph=learning)
        figures = {"adversarial": torch.stack(lost), "features": torch.stack(matching)}
        if learning:
            figures["discriminator"] = of_judges.detach()
            self._judge_optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(of_judges, inputs=list(self.discriminators.parameters()))
            self._update(self.discriminators, self._judge_optimizer)
        return _Verdict(gradient, figures)

    def _update(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Tensor:
        norm = nn.utils.clip_grad_norm_(module.parameters(), self.config.gradient_clip)
        optimizer.step()
        return norm

    def _optimizer(self, module: nn.Module, lr: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            module.parameters(),
            lr=lr,
            betas=self.config.betas,
            weight_decay=self.config.weight_decay,
            fused=True,
        )

    def _set_learning_rates(self, number: int) -> None:
        share = learning_rate_share(self.config, number)
        self._generator_optimizer.param_groups[0]["lr"] = self.config.generator_lr * share
        if self._judge_optimizer is not None:
            self._judge_optimizer.param_groups[0]["lr"] = self.config.discriminator_lr * share

    @torch.no_grad()
    def _follow(self, number: int) -> None:
        """Move the averaged weights. Early on they follow fast, or they would remember the random start."""
        decay = min(self.config.average, (1 + number) / (10 + number))
        ours: list[Tensor] = list(self.average.parameters())
        theirs: list[Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name; not copied."""
        return dict(self._named_state())

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        modules = {"generator": self.generator, "average": self.average, "judges": self.discriminators}
        for prefix, module in modules.items():
            for name, tensor in module.state_dict().items():
                yield f"{prefix}/{name}", tensor
        for prefix, optimizer in self._optimizers():
            for name, tensor in moments(optimizer).items():
                yield f"{prefix}/{name}", tensor

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put a saved :meth:`state` back. Raises :class:`CheckpointError` if it is another training's."""
        modules = {"generator": self.generator, "average": self.average, "judges": self.discriminators}
        for prefix, module in modules.items():
            try:
                module.load_state_dict(_under(state, prefix))
            except RuntimeError:
                raise CheckpointError(
                    f"the saved {prefix} of the vocoder's training has other tensors than this recipe makes: "
                    "use the recipe that it was started with"
                ) from None
        for prefix, optimizer in self._optimizers():
            load_moments(optimizer, _under(state, prefix))

    def _optimizers(self) -> list[tuple[str, torch.optim.Optimizer]]:
        named = [("generator_moments", self._generator_optimizer), ("judge_moments", self._judge_optimizer)]
        return [(name, optimizer) for name, optimizer in named if optimizer is not None]


def learning_rate_share(config: VocoderConfig, number: int) -> float:
    """The share of the recipe's learning rates at step ``number`` (from 1)."""
    match config.decay:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (number - 1) / config.steps)))
        case "exponential":
            return float(config.decay_rate ** ((number - 1) // config.decay_steps))
        case _:
            return 1.0


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
