"""Profiles that somebody damaged: refused whole, in one sentence, before a sound is made."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from client.profile import LARGEST_FILE, load_profile, profile_base
from shared_models.errors import CheckpointError
from shared_models.speakers.voice import VoiceTensor

BASE = "a1" * 32
TAKES = (VoiceTensor("embedding", (8,), "sources"), VoiceTensor("cln_scale", (2, 3), "maps"))


def tensors() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {"embedding": torch.randn(1, 8, generator=rng), "cln_scale": torch.randn(1, 2, 3, generator=rng)}


def header() -> dict[str, str]:
    return {"format": "fedvoice-profile-2", "base": BASE, "name": "Ann", "privacy": "null"}


def refused(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_profile(path, base=BASE, takes=TAKES)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(save(tensors(), header()))
    assert torch.equal(
        load_profile(tmp_path / "x", base=BASE, takes=TAKES).voice["embedding"], tensors()["embedding"]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t["embedding"].fill_(torch.nan), "'embedding' holds NaN or infinite numbers"),
        (lambda t: t["cln_scale"].fill_(-torch.inf), "'cln_scale' holds NaN or infinite numbers"),
        (lambda t: t["embedding"].mul_(1e6), "no voice has a number beyond 1000"),
        (lambda t: t.update(embedding=t["embedding"].half()), "'embedding' is float16 and not float32"),
        (lambda t: t.update(embedding=t["embedding"].double()), "float64 and not float32"),
        (lambda t: t.update(embedding=t["embedding"].long()), "int64 and not float32"),
        (lambda t: t.update(embedding=torch.randn(1, 7)), "does not fit a model that takes"),
        (lambda t: t.update(embedding=torch.randn(2, 8)), "not that of one voice"),
        (lambda t: t.update(embedding=torch.tensor(1.0)), "not that of one voice"),
        (lambda t: t.update(embedding=torch.randn(0, 8)), "not that of one voice"),
        (lambda t: t.update(audio=torch.randn(1, 9)), "does not fit a model that takes"),
        (lambda t: t.pop("cln_scale"), "does not fit a model that takes"),
    ],
)  # fmt: skip
def test_tensors_that_are_no_voice(tmp_path: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    content = tensors()
    change(content)
    refused(tmp_path / "odd.voice.safetensors", save(content, header()), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base": None}, "says nothing of 'base'"),
        ({"privacy": None}, "says nothing of 'privacy'"),
        ({"name": None}, "says nothing of 'name'"),
        ({"privacy": "{"}, "privacy is no JSON"),
        ({"privacy": "[" * 99_999}, "privacy is no JSON"),
        ({"privacy": "[1]"}, "neither null nor an object"),
        ({"base": "../../up"}, "which is no hash"),
        ({"base": BASE.upper()}, "which is no hash"),
        ({"embedding": "{}"}, "speaker embedding"),
    ],
)
def test_headers_that_say_too_little(tmp_path: Path, change: dict[str, str | None], said: str) -> None:
    content = {key: value for key, value in (header() | change).items() if value is not None}
    path = tmp_path / "odd.voice.safetensors"
    if "embedding" in change:
        path.write_bytes(save(tensors(), content))
        with pytest.raises(CheckpointError, match=said):
            load_profile(path, base=BASE, takes=TAKES)
        return
    refused(path, save(tensors(), content), said)
    with pytest.raises(CheckpointError, match=said):
        profile_base(path)


def test_what_is_far_too_large_is_not_even_opened(tmp_path: Path) -> None:
    path = tmp_path / "odd.voice.safetensors"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(CheckpointError, match="is not a voice profile: it has 268,435,457 bytes"):
        profile_base(path)


@given(data=st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_is_a_voice_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(save(tensors(), header()))
    length = struct.unpack("<Q", content[:8])[0]
    assert json.loads(content[8 : 8 + length])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        voice = load_profile(path, base=BASE, takes=TAKES).voice
    except CheckpointError:
        return
    assert all(torch.isfinite(voice[name]).all() for name in voice)
