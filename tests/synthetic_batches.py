"""Small random utterances and models for the tests of the acoustic model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tiny_federation import in_float64 as in_float64
from torch import Tensor

from shared_models.acoustic.dimensions import dimensions
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import AlignerConfig, ModelConfig, SpeakerConfig
from shared_models.features import Batch, Features, collate
from shared_models.speakers.heard import MEL, Heard, Reference
from shared_models.speakers.voice import Voice

SYMBOLS = ("_", "sil", ",", *"abcdefghijklmnopqrst")


def random_features(phonemes: int, frames: int, seed: int, aligned: bool = True) -> Features:
    """Noise in the shape and range of speech."""
    g = torch.Generator().manual_seed(seed)
    cuts = torch.randperm(frames - 1, generator=g)[: phonemes - 1].sort().values + 1
    edges = torch.cat([torch.tensor([0]), cuts, torch.tensor([frames])])
    return Features(
        utterance_id=f"u{seed}",
        phonemes=torch.randint(3, len(SYMBOLS), (phonemes,), generator=g),
        mel=torch.randn(frames, 80, generator=g) * 2 - 5.5,
        log_f0=torch.randn(frames, generator=g) * 0.2 + 5.0,
        voiced=torch.rand(frames, generator=g) > 0.4,
        energy=torch.randn(frames, generator=g) + 2.0,
        durations=edges.diff() if aligned else None,
    )


def reference_of(frames: int, seed: int) -> Tensor:
    """A reference mel ``(frames, 80)``."""
    return torch.randn(frames, 80, generator=torch.Generator().manual_seed(1000 + seed)) * 2 - 5.5


def batch_of(items: Sequence[Features], speakers: Sequence[int] | None = None) -> Batch:
    """The utterances with references of different lengths; each item's own reference does not change."""
    seeds = [int(item.utterance_id[1:]) for item in items]
    references = [Reference({MEL: reference_of(20 + 7 * (seed % 5), seed)}) for seed in seeds]
    return collate(items, references, speakers)


def voice_of_row(model: VoiceModel, row: int = 0) -> Voice:
    """The voice of a row of the model's voices, of whom nothing is heard."""
    return model.voice(Heard(torch.tensor([row])))


def small_model(
    size: str = "tiny",
    *,
    voices: int = 1,
    seed: int = 0,
    speaker: SpeakerConfig | None = None,
    aligner: AlignerConfig | None = None,
    **sizes: object,
) -> VoiceModel:
    """A voice model over the toy symbols, narrow unless the sizes say otherwise."""
    narrow: dict[str, object] = {"hidden": 16, "filter": 32, "encoder_layers": 2}
    config = ModelConfig.model_validate({"size": size, **narrow, **sizes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VoiceModel(
            dimensions(config, SYMBOLS), speaker or SpeakerConfig(), aligner or AlignerConfig(), voices
        )


@torch.no_grad()
def shake(model: torch.nn.Module, amount: float = 0.2, seed: int = 5) -> None:
    """Move every parameter away from its initial value, so that nothing hides behind a zero."""
    g = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter += amount * torch.randn(parameter.shape, generator=g)
