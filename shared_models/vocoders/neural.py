"""A trained generator in the place of a vocoder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from shared_models.audio.mel import HOP
from shared_models.vocoders.kinds import Dimensions


@dataclass(frozen=True, slots=True)
class NeuralVocoder:
    """A generator behind the vocoders' one call, in evaluation mode and without gradients.

    Example::

        wave = load_vocoder(Path("vocoder.safetensors"))(mel)  # (T, 80) -> (T * 256,)
    """

    generator: nn.Module
    kind: str
    """A key of :data:`shared_models.vocoders.kinds.KINDS`."""
    dimensions: Dimensions
    notes: dict[str, str] = field(default_factory=dict)
    """What its maker wrote down: data, steps, licence."""

    def __post_init__(self) -> None:
        self.generator.eval()

    def to(self, device: torch.device) -> NeuralVocoder:
        """The same with its generator, which is moved, on another device."""
        return replace(self, generator=self.generator.to(device))

    @torch.no_grad()
    def __call__(self, mel: Tensor) -> Tensor:
        """Wave ``(..., T * HOP)`` at 22,050 Hz of a natural-log mel ``(..., T, N_MELS)``.

        Computed where the generator lies, in its precision; the wave is on the mel's device, in its own.
        """
        frames = mel.shape[-2]
        if mel.numel() == 0:
            return mel.new_zeros(*mel.shape[:-2], frames * HOP)
        own = next(self.generator.parameters())
        wave: Tensor = self.generator(mel.reshape(-1, *mel.shape[-2:]).to(own))
        return wave.to(mel).reshape(*mel.shape[:-2], frames * HOP)
