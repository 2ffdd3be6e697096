"""A vocoder's file gives back its sound, and a damaged or foreign one gives one clear refusal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from shared_models.audio.mel import HOP
from shared_models.errors import CheckpointError, RecipeError
from shared_models.vocoders import (
    GriffinLim,
    NeuralVocoder,
    build_generator,
    build_vocoder,
    load_vocoder,
    packaged_vocoder,
    save_vocoder,
    vocoder_file,
)
from shared_models.vocoders.diffwave import DiffWaveDimensions
from shared_models.vocoders.hifigan import HiFiGanDimensions
from shared_models.vocoders.kinds import Dimensions
from shared_models.vocoders.magnitude import MagnitudeDimensions
from shared_models.vocoders.mel_settings import OURS, MelSettings, mel_settings_of, refuse_mismatch
from shared_models.vocoders.melgan import MelGanDimensions
from shared_models.vocoders.vocos import VocosDimensions

SIZES: dict[str, Dimensions] = {
    "hifigan_v2": HiFiGanDimensions(
        16, (8, 8, 2, 2), (16, 16, 4, 4), (3, 7, 11), ((1, 3, 5),) * 3, paired=True
    ),
    "melgan": MelGanDimensions(channels=16),
    "diffwave": DiffWaveDimensions(channels=4, layers=3, cycle=2),
    "vocos": VocosDimensions(width=8, hidden=16, blocks=2),
    "magnitude": MagnitudeDimensions(width=8, hidden=16, blocks=2, iterations=2),
}


def written(folder: Path, kind: str = "vocos", **options: Any) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    path, generator = folder / "vocoder.safetensors", build_generator(kind, SIZES[kind])
    save_vocoder(path, generator, kind, SIZES[kind], {"corpus": "none"}, **options)
    return path, generator


@pytest.mark.parametrize("kind", SIZES)
def test_same_sound_kind_sizes_and_notes(kind: str, tmp_path: Path) -> None:
    path, generator = written(tmp_path, kind)
    loaded, mel = load_vocoder(path), torch.randn(2, 6, 80)
    with torch.no_grad():
        assert torch.allclose(loaded(mel), generator(mel), atol=1e-6)
    assert (loaded.kind, loaded.dimensions, loaded.notes) == (kind, SIZES[kind], {"corpus": "none"})
    assert not any(p.requires_grad for p in loaded.generator.parameters())
    assert all(p.requires_grad for p in generator.parameters())  # training can go on


@pytest.mark.parametrize("kind", SIZES)
def test_half_precision_is_half_as_large_and_loads_as_single(kind: str, tmp_path: Path) -> None:
    path, generator = written(tmp_path, kind)
    whole, numbers = path.stat().st_size, sum(t.numel() for t in load_file(path).values())
    written(tmp_path, kind, half=True)
    assert whole - path.stat().st_size >= 2 * numbers - 2000  # headers differ by a few bytes
    loaded, mel = load_vocoder(path), torch.randn(6, 80)
    assert {p.dtype for p in loaded.generator.parameters()} == {torch.float32}
    with torch.no_grad():
        assert torch.allclose(loaded(mel), generator(mel[None])[0], atol=5e-3)


def test_weights_that_cannot_be_stored_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path, generator = written(tmp_path)
    before = path.read_bytes()
    with torch.no_grad():
        generator.head.bias[0] = 1e6
    with pytest.raises(CheckpointError, match=r"head\.bias.*float16"):
        save_vocoder(path, generator, "vocos", SIZES["vocos"], half=True)
    with torch.no_grad():
        generator.head.bias[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"head\.bias.*float32"):
        save_vocoder(path, generator, "vocos", SIZES["vocos"])
    assert path.read_bytes() == before


def rewritten(path: Path, header: dict[str, str], tensors: dict[str, torch.Tensor] | None = None) -> Path:
    with safe_open(path, "pt") as file:
        old = file.metadata()
    save_file(load_file(path) if tensors is None else tensors, path, old | header)
    return path


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"format": "other"}, "not a FedVoice vocoder"),
        ({"kind": "wavenet"}, "wavenet"),
        ({"kind": "melgan"}, "dimensions of 'melgan'"),
        ({"dimensions": "{"}, "dimensions"),
        ({"dimensions": json.dumps({"width": 8, "hidden": 17, "blocks": 2})}, "shape"),
        ({"dimensions": json.dumps({"width": 8, "hidden": 16, "blocks": 3})}, "lacks"),
        ({"dimensions": json.dumps({"width": 8, "hidden": 16, "blocks": 1})}, "has not"),
        ({"mel": "[]"}, "settings"),
        ({"mel": "{}"}, "sampling_rate"),
        ({"mel": "[" * 99_999}, "settings"),
        ({"dimensions": "[" * 99_999}, "dimensions"),
    ],
)
def test_headers_that_do_not_hold_are_refused(header: dict[str, str], said: str, tmp_path: Path) -> None:
    path = rewritten(written(tmp_path)[0], header)
    with pytest.raises(CheckpointError, match=said):
        load_vocoder(path)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("vocos", {"width": 65_536, "hidden": 65_536, "blocks": 2}),
        ("vocos", {"width": 2**40, "hidden": 16, "blocks": 2}),
        ("vocos", {"width": 8, "hidden": 16, "blocks": 10**9}),
        ("diffwave", {"channels": 4, "layers": 10**9, "cycle": 2}),
        ("diffwave", {"channels": 4, "layers": 3, "cycle": 10**6}),
        ("melgan", {"channels": 16, "rates": [8, 8, 2, 2], "blocks": 1000}),
        ("magnitude", {"width": 8, "hidden": 8, "blocks": 1, "iterations": 10**9}),
    ],
)
def test_sizes_that_would_fill_the_memory_are_refused_at_once(
    kind: str, sizes: dict[str, Any], tmp_path: Path
) -> None:
    path = rewritten(written(tmp_path)[0], {"kind": kind, "dimensions": json.dumps(sizes)})
    started = time.process_time()
    with pytest.raises(CheckpointError, match=r"vocoder\.safetensors"):
        load_vocoder(path)
    assert time.process_time() - started < 5


def test_another_mel_is_refused_by_every_field_that_differs(tmp_path: Path) -> None:
    path = written(tmp_path)[0]
    with safe_open(path, "pt") as file:
        mel = json.loads(file.metadata()["mel"])
    assert MelSettings(**mel) == OURS
    rewritten(path, {"mel": json.dumps(mel | {"hop_size": 300, "fmax": 11025.0})})
    with pytest.raises(CheckpointError, match=r"hop_size is 300 and not 256, fmax is 11025.0 and not 8000.0"):
        load_vocoder(path)


def test_nyquist_is_what_a_missing_fmax_means_and_ours_pass() -> None:
    values = {name: getattr(OURS, name) for name in MelSettings.__slots__}
    refuse_mismatch(mel_settings_of(values | {"fmin": 0, "more": "x"}, "here"), "here")
    assert mel_settings_of(values | {"fmax": None}, "here").fmax == 11025
    with pytest.raises(CheckpointError, match=r"here.*n_fft"):
        mel_settings_of(values | {"n_fft": True}, "here")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.9999))
def test_truncated_files_are_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "vocoder.safetensors"
    if not (tmp_path / "whole").exists():
        written(tmp_path)
        path.rename(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_vocoder(path)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "vocoder.safetensors"
    if not (tmp_path / "whole").exists():
        written(tmp_path)
        path.rename(tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    content[data.draw(st.integers(0, 2500))] ^= data.draw(st.integers(1, 255))  # mostly the header
    path.write_bytes(content)
    try:
        vocoder = load_vocoder(path)
    except CheckpointError:
        return
    assert vocoder(torch.zeros(2, 80)).shape == (2 * HOP,)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)[0]
    tensors = load_file(path)
    tensors["head.bias"][3] = torch.inf
    with pytest.raises(CheckpointError, match=r"head\.bias"):
        load_vocoder(rewritten(path, {}, tensors))


def test_vocoders_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)[0]
    assert isinstance(build_vocoder("griffin_lim"), GriffinLim)
    for given_path in (path, str(path)):
        vocoder = build_vocoder(given_path)
        assert isinstance(vocoder, NeuralVocoder)
        assert vocoder(torch.zeros(3, 80)).shape == (3 * HOP,)
    monkeypatch.setattr(vocoder_file, "PACKAGED", path)
    assert isinstance(build_vocoder("packaged"), NeuralVocoder)
    monkeypatch.setattr(vocoder_file, "PACKAGED", tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        packaged_vocoder()
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors"):
        build_vocoder(tmp_path / "nowhere.safetensors")
    with pytest.raises(RecipeError, match=r"griffin_lim, packaged"):
        build_vocoder("grifin_lim")
    with pytest.raises(CheckpointError):
        build_vocoder(tmp_path)
