"""Wav2Vec 2.0 and HuBERT (arXiv 2006.11477, 2106.07447) as a frozen front: torchaudio's models, weights from a path.

What all layers say is mixed by learnt weights (as in SUPERB, arXiv 2105.01051: lower layers tell the speaker, higher
ones the content), its mean and deviation over time are taken, and one linear map gives the embedding. Each recording is
heard alone, because the front's group norm spans the whole of what it is given, padding included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from shared_models.audio.sixteen_kilohertz import RATE, at_16_khz
from shared_models.errors import CheckpointError, RecipeError
from shared_models.files import write_atomically
from shared_models.model_config import SpeakerConfig
from shared_models.partition import Owner
from shared_models.speakers.heard import Heard, Signal
from shared_models.speakers.sizes import Sizes
from shared_models.speakers.sources.encoder_source import Frozen, file_of
from shared_models.speakers.sources.source import Contribution
from shared_models.speakers.voice import VoiceTensor
from shared_models.tensor_file import read_tensors, read_torch_file

FORMAT = "fedvoice-self-supervised-1"
_REMEDY = (
    "name torchaudio's .pth of a base model, or a file of save_front, as --set speaker.encoders.KIND=FILE"
)
_LEAST = RATE // 10
"""Samples; what is shorter is padded, since the front has a step every 20 ms."""
_SMALLEST_VARIANCE = 1e-6


class LayerMeans(nn.Module):
    """A front, and of each of its layers the mean and deviation over time: ``(B, L, 2 C)``."""

    def __init__(self, front: Any) -> None:
        super().__init__()
        self.front = front

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``(B, N, 1)`` at 22,050 Hz, ``lengths (B,)``; 0 for an empty one."""
        return torch.stack([self._of(row[:n, 0]) for row, n in zip(values, lengths.tolist(), strict=True)])

    def _of(self, wave: Tensor) -> Tensor:
        heard = at_16_khz(wave) if len(wave) else wave
        padded = torch.nn.functional.pad(heard, (0, max(0, _LEAST - len(heard))))
        layers = torch.cat(self.front.extract_features(padded[None])[0])
        deviation = layers.var(1, unbiased=False).clamp_min(_SMALLEST_VARIANCE).sqrt()
        return torch.cat([layers.mean(1), deviation], dim=1)


class SelfSupervised(nn.Module):
    """A waveform to ``(B, E)``."""

    belongs_to = Owner.SHARED
    hears = ("wave",)
    tokens = 0
    alone = False

    def __init__(self, kind: str, sizes: Sizes, speaker: SpeakerConfig) -> None:
        super().__init__()
        if kind not in speaker.encoders:
            raise RecipeError(
                f"speaker.encoders names no weights for '{kind}': give --set speaker.encoders.{kind}=FILE"
            )
        if kind in speaker.joint:
            raise RecipeError(f"'{kind}' is a frozen front of the model: take it out of speaker.joint")
        front = load_front(file_of(kind, speaker))
        encoder = front.encoder.transformer
        layers, width = len(encoder.layers), encoder.layers[0].layer_norm.normalized_shape[0]
        self.front = Frozen(LayerMeans(front))
        self.mixture = nn.Parameter(torch.zeros(layers))
        self.norm = nn.LayerNorm(2 * width)
        self.projection = nn.Linear(2 * width, sizes.embedding)

    def keeps(self) -> tuple[VoiceTensor, ...]:
        """Nothing: a voice is heard anew."""
        return ()

    def forward(self, heard: Heard) -> Contribution:
        """What the front says of each row's reference, and 0 for an empty one."""
        wave: Signal = heard.signals["wave"]
        layers = self.front(wave.values, wave.lengths)
        mixed = torch.softmax(self.mixture, dim=0) @ layers
        embedding: Tensor = self.projection(self.norm(mixed))
        return Contribution(embedding * (wave.lengths > 0)[:, None])

    def pool(self, each: Contribution) -> Contribution:
        """The mean over the recordings."""
        return each.mean()


class Wav2Vec2(SelfSupervised):
    """Wav2Vec 2.0."""

    def __init__(self, sizes: Sizes, speaker: SpeakerConfig) -> None:
        super().__init__("wav2vec2", sizes, speaker)


class Hubert(SelfSupervised):
    """HuBERT."""

    def __init__(self, sizes: Sizes, speaker: SpeakerConfig) -> None:
        super().__init__("hubert", sizes, speaker)


def save_front(path: Path, front: nn.Module, config: Mapping[str, Any]) -> None:
    """Write a front with the arguments of ``torchaudio.models.wav2vec2_model`` that make it. Raises StorageError."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in front.state_dict().items()}
    write_atomically(path, save(tensors, {"format": FORMAT, "config": json.dumps(config)}))


def load_front(path: Path) -> Any:
    """A front from our file, or from the ``.pth`` of torchaudio's base models. Raises :class:`CheckpointError`."""
    from torchaudio.models import wav2vec2_base, wav2vec2_model

    try:
        if path.suffix == ".safetensors":
            header, state = read_tensors(path, "the self-supervised model", _REMEDY)
            if header.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} is not a self-supervised model of this version ({FORMAT}): {_REMEDY}"
                )
            front = wav2vec2_model(**json.loads(header["config"]))
        else:
            state = read_torch_file(path, "the self-supervised model", _REMEDY)
            front = wav2vec2_base()
        front.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"the self-supervised model {path} cannot be read ({said}): {_REMEDY}"
        ) from None
    return front.eval()
