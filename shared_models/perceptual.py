"""Losses by ear: what a frozen speaker encoder says of a predicted mel, against what it says of the recording's.

The perceptual loss compares its layers frame by frame (Johnson 2016, arXiv 1603.08155, section 3.2), and speaker
consistency its embeddings (YourTTS, arXiv 2112.02418, equation 1). Both hear the same frames of an utterance, so that
neither content nor timing tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_models.accelerator import CPU
from shared_models.acoustic.fastspeech2 import AcousticOutput
from shared_models.audio.heard_mel import spectra_of
from shared_models.layers.sequences import masked_mean, valid_steps
from shared_models.loss_config import LossConfig
from shared_models.partition import Owner
from shared_models.speakers.encoders.encoder_file import load_encoder
from shared_models.speakers.sources.encoder_source import LEAST_STEPS, named_file

_SMALLEST = 1e-6


class Ear(nn.Module):
    """A trained speaker encoder that hears mels, and whose gradient is theirs alone. It is part of no voice."""

    belongs_to = Owner.FROZEN

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        self._heard: list[Tensor] = []
        for layer in _layers_in_time(encoder):
            layer.register_forward_hook(self._keep)

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Sequence[Tensor], Tensor]:
        """Natural-log ``mel (B, T, 80)``, ``lengths (B,)``; to unit embeddings ``(B, E)``, layers and their lengths.

        A layer says ``(B, N, C)``.
        """
        spectra, steps = spectra_of(mel, lengths, self.encoder.hears)
        spectra = F.pad(spectra, (0, 0, 0, max(0, LEAST_STEPS - spectra.shape[1])))
        steps = steps.clamp_min(LEAST_STEPS)
        self._heard.clear()
        embedding = F.normalize(self.encoder(spectra, steps), dim=1)
        layers = [x if x.shape[1] == spectra.shape[1] else x.transpose(1, 2) for x in self._heard]
        self._heard.clear()
        return embedding, layers, steps

    def _keep(self, _layer: nn.Module, _given: Any, said: Any) -> None:
        # A recurrent layer says its last state too.
        self._heard.append(said[0] if isinstance(said, tuple) else said)


def heard_losses(ear: Ear, output: AcousticOutput) -> tuple[Tensor, Tensor]:
    """The perceptual loss ``(B,)``, and 1 - cosine ``(B,)`` of the embeddings, of what was predicted and recorded.

    A layer's distance is the mean of its absolute differences over that of the recording's absolute values.
    """
    lengths = output.frame_mask.sum(1)
    embedding, layers, steps = ear(output.mel.float(), lengths)
    with torch.no_grad():
        recorded, wanted, _ = ear(output.mel_target.float(), lengths)
    apart = []
    for said, real in zip(layers, wanted, strict=True):
        mask = valid_steps(steps, said.shape[1])
        size = masked_mean(real.abs().mean(2), mask).clamp_min(_SMALLEST)
        apart.append(masked_mean((said - real).abs().mean(2), mask) / size)
    return torch.stack(apart).mean(0), 1 - (embedding * recorded).sum(1)


def heard_loss(losses: LossConfig, output: AcousticOutput) -> Tensor:
    """The weighted sum ``()`` of both, a mean over the batch. Raises :class:`CheckpointError` for a bad file."""
    perceptual, consistency = heard_losses(ear_of(losses.judge, output.mel.device), output)
    return (losses.perceptual * perceptual + losses.consistency * consistency).mean()


def ear_of(judge: Mapping[str, str], device: torch.device = CPU) -> Ear:
    """The one encoder that ``losses.judge`` names, read once a process."""
    ((kind, named),) = judge.items()
    return _read(kind, named_file(named), device)


@lru_cache(maxsize=2)
def _read(kind: str, path: Path, device: torch.device) -> Ear:
    return Ear(load_encoder(path, kind)).to(device)


def _layers_in_time(encoder: Any) -> Sequence[nn.Module]:
    """The parts of an encoder that say something step by step."""
    for name in ("layers", "blocks"):
        if isinstance(found := getattr(encoder, name, None), nn.ModuleList):
            return list(found)
    return [encoder.lstm]
