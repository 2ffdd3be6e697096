"""A small exported voice, made once a session: the exporter takes seconds."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from tiny_federation import shaken, tiny_model, tiny_recipe
from torch import Tensor, nn

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.export.voice_folder import write_voice
from shared_models.speakers.voice import Voice, VoiceTensor
from shared_models.vocoders.magnitude import MagnitudeDimensions, MagnitudeNetwork
from shared_models.vocoders.vocos import Vocos, VocosDimensions

BASE = "0123456789abcdef"
NARROW = VocosDimensions(width=32, hidden=64, blocks=2)


def small_model(**changes: object) -> VoiceModel:
    """A model in which nothing hides behind a zero."""
    return shaken(tiny_model(tiny_recipe(**changes))).model.eval()


@torch.no_grad()
def disturbed(generator: nn.Module, amount: float = 0.05) -> nn.Module:
    """The generator with every parameter moved, always alike."""
    rng = torch.Generator().manual_seed(5)
    for parameter in generator.parameters():
        parameter += amount * torch.randn(parameter.shape, generator=rng)
    return generator.eval()


def small_vocos() -> Vocos:
    """A Vocos that makes a noise."""
    vocos = disturbed(Vocos(NARROW))
    assert isinstance(vocos, Vocos)
    return vocos


def small_magnitude() -> MagnitudeNetwork:
    """A magnitude network that says more than a mel's envelope."""
    network = disturbed(MagnitudeNetwork(MagnitudeDimensions(width=32, hidden=64, blocks=2, iterations=8)))
    assert isinstance(network, MagnitudeNetwork)
    return network


def speakers(model: VoiceModel, count: int, seed: int = 3) -> Voice:
    """Speakers that are all different."""
    rng = torch.Generator().manual_seed(seed)

    def drawn(declared: VoiceTensor) -> Tensor:
        spread = 1.0 if declared.made_by == "sources" else 0.2
        return spread * torch.randn(count, *declared.shape, generator=rng) + (declared.name == "cln_scale")

    return Voice({declared.name: drawn(declared) for declared in model.takes})


@lru_cache(maxsize=1)
def exported() -> tuple[Path, VoiceModel, Vocos]:
    """A folder with a voice, and the networks that it was made from."""
    folder = _folder()
    model, vocos = small_model(model__postnet=True), small_vocos()
    write_voice(
        folder / "voice", model.acoustic, vocos, speakers(model, 1), form="onnx", base=BASE, vocoder="vocos"
    )
    return folder / "voice", model, vocos


@lru_cache(maxsize=1)
def exported_magnitude() -> tuple[Path, MagnitudeNetwork]:
    """A folder whose vocoder searches for phases, and its network."""
    folder, network, model = _folder(), small_magnitude(), small_model()
    write_voice(
        folder / "voice", model.acoustic, network, speakers(model, 1),
        form="onnx", base=BASE, vocoder="magnitude",
    )  # fmt: skip
    return folder / "voice", network


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fedvoice-test-export-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
