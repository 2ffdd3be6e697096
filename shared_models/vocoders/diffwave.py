"""DiffWave: a dilated convolutional network that takes the noise off a wave, step by step.

Source: Z. Kong et al., "DiffWave: A versatile diffusion model for audio synthesis", ICLR 2021
(arXiv 2009.09761). Its mel is this repository's, scaled to about [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.audio.mel import HOP, LOG_FLOOR, N_MELS
from shared_models.partition import Owner
from shared_models.vocoders.diffusion_schedule import FAST, TRAINING, NoiseSchedule

_FREQUENCIES = 64
_EMBEDDING = 512
_UPSAMPLING = 16  # twice, which makes the hop
_UPSAMPLING_SLOPE = 0.4
_TILE = 2**15
"""Samples that sampling takes at a time: what a block computes then stays near the processor."""


@dataclass(frozen=True, slots=True)
class DiffWaveDimensions:
    """Sizes of :class:`DiffWave`; the paper's base model by default (2.62 M parameters)."""

    channels: int = 64
    layers: int = 30
    cycle: int = 10
    """Dilations double from 1 within a cycle of this many layers, then start anew."""

    @property
    def dilations(self) -> list[int]:
        """Of every layer, in samples; their sum is how far a prediction sees to either side."""
        return [2 ** (i % self.cycle) for i in range(self.layers)]


@dataclass(frozen=True, slots=True)
class NoisyWaves:
    """Clean waves at random steps of the diffusion, and what was put on them."""

    wave: Tensor
    """``(B, samples)``."""
    step: Tensor
    """``(B,)``, counted from 0."""
    noise: Tensor
    """``(B, samples)``, of variance 1: what there is to predict."""

    @classmethod
    def of(cls, clean: Tensor, generator: torch.Generator | None = None) -> NoisyWaves:
        """``clean (B, samples)`` with noise. The draws are made on the CPU, from ``generator`` if given."""
        kept = torch.tensor(TRAINING.kept, dtype=clean.dtype)
        step = torch.randint(len(kept), (len(clean),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        left = kept[step].to(clean.device)[:, None]
        wave = left.sqrt() * clean + (1 - left).sqrt() * noise
        return cls(wave, step.to(wave), noise)

    def __len__(self) -> int:
        return len(self.wave)

    def split(self, size: int) -> Iterator[NoisyWaves]:
        """At most ``size`` of them at a time, in order."""
        parts = (torch.split(tensor, size) for tensor in (self.wave, self.step, self.noise))
        return map(NoisyWaves, *parts)


class StepEmbedding(nn.Module):
    """A vector for a step of the diffusion, which may lie between two trained ones."""

    belongs_to = Owner.SHARED
    table: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        powers = 10 ** (torch.arange(_FREQUENCIES) * 4 / (_FREQUENCIES - 1))
        angles = torch.arange(steps)[:, None] * powers
        self.register_buffer("table", torch.cat([angles.sin(), angles.cos()], dim=1), persistent=False)
        self.expand = nn.Linear(2 * _FREQUENCIES, _EMBEDDING)
        self.project = nn.Linear(_EMBEDDING, _EMBEDDING)

    def forward(self, step: Tensor) -> Tensor:
        """``step (B,)``, counted from 0, to ``(B, 512)``."""
        # The rows are interpolated, not the angles: the fastest of them turns hundreds of times in a step.
        below = step.floor().long()
        above = step.ceil().long()
        row = self.table[below].lerp(self.table[above], (step - below)[:, None].to(self.table))
        return F.silu(self.project(F.silu(self.expand(row))))


class DiffWaveBlock(nn.Module):
    """A gated dilated convolution, told the step and the mel; it gives a shortcut and a skip."""

    belongs_to = Owner.SHARED

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.step = nn.Linear(_EMBEDDING, channels)
        self.dilated = _convolution(channels, 2 * channels, 3, dilation)
        self.mel = _convolution(N_MELS, 2 * channels)
        self.output = _convolution(channels, 2 * channels)

    def forward(self, x: Tensor, step: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """``x (B, channels, N)``, ``step (B, 512)``, ``mel (B, N_MELS, N)`` to two ``(B, channels, N)``."""
        told = self.dilated(x + self.step(step)[..., None]) + self.mel(mel)
        gate, content = told.chunk(2, dim=1)
        residual, skip = self.output(gate.sigmoid() * content.tanh()).chunk(2, dim=1)
        return (x + residual) / math.sqrt(2), skip


class DiffWave(nn.Module):
    """The noise predictor, with its training loss and its sampling.

    Example::

        loss = model.training_loss(NoisyWaves.of(wave), mel)
        wave = model.sample(mel, TRAINING, seed=1)  # 50 steps; model(mel) takes the fast six
    """

    belongs_to = Owner.SHARED

    def __init__(self, dimensions: DiffWaveDimensions | None = None) -> None:
        super().__init__()
        sizes = dimensions or DiffWaveDimensions()
        self.dimensions = sizes
        self.step_embedding = StepEmbedding(len(TRAINING.betas))
        self.upsampling = nn.ModuleList(
            nn.ConvTranspose2d(1, 1, (3, 2 * _UPSAMPLING), (1, _UPSAMPLING), (1, _UPSAMPLING // 2))
            for _ in range(2)
        )
        self.input = _convolution(1, sizes.channels)
        self.blocks = nn.ModuleList(DiffWaveBlock(sizes.channels, dilation) for dilation in sizes.dilations)
        self.skip = _convolution(sizes.channels, sizes.channels)
        self.output = _convolution(sizes.channels, 1)
        nn.init.zeros_(self.output.weight)

    def forward(self, mel: Tensor) -> Tensor:
        """Wave ``(B, T * HOP)`` at 22,050 Hz of a natural-log ``mel (B, T, N_MELS)``, in six steps."""
        return self.sample(mel)

    def predict_noise(self, wave: Tensor, step: Tensor, mel: Tensor) -> Tensor:
        """The noise ``(B, T * HOP)`` in a noisy ``wave (B, T * HOP)`` at ``step (B,)`` of the training.

        ``mel (B, T, N_MELS)`` is the clean wave's; ``step`` counts from 0 and may be fractional.
        """
        return self._predict(wave, step, self._upsampled(mel))

    def training_loss(self, noisy: NoisyWaves, mel: Tensor) -> Tensor:
        """Mean L1 between the noise that was put on waves of ``T * HOP`` samples and the one predicted.

        ``mel (B, T, N_MELS)`` is the clean waves'.
        """
        return F.l1_loss(self.predict_noise(noisy.wave, noisy.step, mel), noisy.noise)

    @torch.no_grad()
    def sample(self, mel: Tensor, schedule: NoiseSchedule = FAST, seed: int = 0) -> Tensor:
        """Wave ``(B, T * HOP)``, in [-1, 1], of ``mel (B, T, N_MELS)``: the same for the same seed.

        Every mel of a batch starts from the same noise, so that none depends on its neighbours. Raises
        :class:`RecipeError` for a schedule that ends noisier than the training's.
        """
        generator = torch.Generator().manual_seed(seed)
        shape = (1, mel.shape[1] * HOP)
        upsampled, kept = self._upsampled(mel), schedule.kept
        steps = schedule.steps_within(TRAINING)
        wave = torch.randn(shape, generator=generator).to(mel).expand(len(mel), -1)
        for n in reversed(range(len(steps))):
            beta = schedule.betas[n]
            noise = self._predict_in_tiles(wave, wave.new_full((len(wave),), steps[n]), upsampled)
            wave = (wave - beta / math.sqrt(1 - kept[n]) * noise) / math.sqrt(1 - beta)
            fresh = torch.randn(shape, generator=generator).to(mel)
            wave = (wave + schedule.posterior_deviation(n) * fresh).clamp(-1, 1)
        return wave

    def _upsampled(self, mel: Tensor) -> Tensor:
        """The scaled mel at the sample rate ``(B, N_MELS, T * HOP)``."""
        x = (1 - mel / LOG_FLOOR).transpose(1, 2)[:, None]  # silence is 0, a magnitude of 1 is 1
        for layer in self.upsampling:
            x = F.leaky_relu(layer(x), _UPSAMPLING_SLOPE)
        return x[:, 0]

    def _predict_in_tiles(self, wave: Tensor, step: Tensor, upsampled: Tensor) -> Tensor:
        """What :meth:`_predict` gives, and no layer holds more than a tile of the wave."""
        length, tiles = wave.shape[1], []
        reach = sum(self.dimensions.dilations)
        for start in range(0, length, _TILE):
            # What lies further away than the dilations reach counts for no sample of the tile.
            begin, end = max(0, start - reach), min(length, start + _TILE + reach)
            predicted = self._predict(wave[:, begin:end], step, upsampled[..., begin:end])
            tiles.append(predicted[:, start - begin : start - begin + _TILE])
        return torch.cat(tiles, dim=1)

    def _predict(self, wave: Tensor, step: Tensor, upsampled: Tensor) -> Tensor:
        x, embedded = F.relu(self.input(wave[:, None])), self.step_embedding(step)
        total = torch.zeros_like(x)
        for block in self.blocks:
            x, skip = block(x, embedded, upsampled)
            total = total + skip
        total = F.relu(self.skip(total / math.sqrt(len(self.blocks))))
        predicted: Tensor = self.output(total)
        return predicted[:, 0]


def _convolution(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Conv1d:
    layer = nn.Conv1d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    nn.init.kaiming_normal_(layer.weight)
    return layer
