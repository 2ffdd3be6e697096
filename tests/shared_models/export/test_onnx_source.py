"""A model with a source of harmonics as a graph: the contours that it predicts and the harmonics that it draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_voice import BASE, small_model, small_vocos, speakers

from shared_models.acoustic.voice_model import VoiceModel
from shared_models.export.onnx_voice import OnnxVoice
from shared_models.export.voice_folder import quantize_voice, write_voice
from shared_models.text.symbols import VOCABULARY_SIZE

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, VoiceModel]:
    folder = tmp_path_factory.mktemp("export") / "voice"
    model = small_model(
        model__source="harmonics",
        model__durations="mean",
        model__contrast=0.0,
        model__pitch_spread=1.4,
        model__duration_spread=1.2,
    )
    write_voice(
        folder, model.acoustic, small_vocos(), speakers(model, 1), form="onnx", base=BASE, vocoder="vocos"
    )
    return folder, model


@pytest.mark.parametrize(
    ("lengths", "scale", "shift"), [([1], 1.0, 0.0), ([9, 1, 4], 2.3, -5.0), ([60], 0.7, 3.0)]
)
def test_mel_is_the_model_s_own(
    exported: tuple[Path, VoiceModel], lengths: list[int], scale: float, shift: float
) -> None:
    folder, model = exported
    rng = torch.Generator().manual_seed(len(lengths))
    valid = torch.tensor(lengths)
    phonemes = torch.randint(1, VOCABULARY_SIZE, (len(lengths), max(lengths)), generator=rng)
    phonemes = phonemes * (torch.arange(max(lengths)) < valid[:, None])
    voice = speakers(model, len(lengths))
    with torch.no_grad():
        expected, frames = model.synthesize(phonemes, valid, voice, duration_scale=scale, pitch_shift=shift)
    mel, found = OnnxVoice(folder).mel(
        phonemes.numpy(), valid.numpy(), duration_scale=scale, pitch_shift=shift,
        speaker={name: tensor.numpy() for name, tensor in voice.tensors.items()},
    )  # fmt: skip
    assert found.tolist() == frames.tolist()
    assert mel.shape == tuple(expected.shape)
    # A frame whose voicing or drawing is decided by a last digit may be decided otherwise, and its neighbours hear it.
    apart = np.abs(mel - expected.numpy()).max(axis=2)
    assert np.median(apart) < 1e-4
    assert np.mean(apart > 1e-3) < 0.02


def test_what_is_spoken_is_the_mel_s_own_where_the_base_asks_for_no_contrast(
    exported: tuple[Path, VoiceModel],
) -> None:
    voice = OnnxVoice(exported[0])
    symbols = ["sil", "h", "ɛ", "l", "ˈoʊ", "sil"]
    mel, _ = voice.mel(voice.encode(symbols)[None])
    assert np.array_equal(voice.unmarked(symbols)[1], voice.vocode(mel)[0])
    sharp = OnnxVoice(exported[0])
    sharp.description = replace(sharp.description, contrast=0.3)
    assert not np.array_equal(sharp.unmarked(symbols)[1], voice.unmarked(symbols)[1])


def test_int8_weights_still_draw_harmonics(exported: tuple[Path, VoiceModel], tmp_path: Path) -> None:
    folder, _ = exported
    quantize_voice(folder, tmp_path / "int8")
    phonemes = np.arange(8, 40, dtype=np.int64)[None]
    whole, _ = OnnxVoice(folder).mel(phonemes)
    rounded, _ = OnnxVoice(tmp_path / "int8").mel(phonemes)
    width = min(whole.shape[1], rounded.shape[1])
    assert abs(whole.shape[1] - rounded.shape[1]) <= 0.05 * whole.shape[1]
    spread = whole.std()
    assert np.abs(whole[:, :width].mean(1) - rounded[:, :width].mean(1)).mean() < 0.2 * spread
