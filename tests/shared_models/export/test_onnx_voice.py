"""An exported voice computes what the networks that it was made from do, and refuses what it cannot be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

pytest.importorskip("onnxruntime", reason="SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'")
pytest.importorskip("onnxscript", reason="SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'")

from embedded_speech import embedded_recordings
from exported_voice import BASE, disturbed, exported, small_model, speakers

from shared_models.audio.postfilter import sharpen
from shared_models.audio.reading import read_audio
from shared_models.errors import CheckpointError, RecipeError, TextError, WatermarkError
from shared_models.export.onnx_graph import export_vocoder
from shared_models.export.onnx_voice import ACOUSTIC, VOCODER, WATERMARK, OnnxVoice
from shared_models.export.vocoder_graph import inverse_real_dft, overlap_add, vocoder_graph
from shared_models.export.voice_folder import quantize_voice, write_voice
from shared_models.speakers.voice import Voice
from shared_models.text.symbols import SYMBOL_IDS, VOCABULARY_SIZE
from shared_models.vocoders.diffwave import DiffWave, DiffWaveDimensions
from shared_models.vocoders.hifigan import HiFiGan, HiFiGanDimensions
from shared_models.vocoders.inverse_stft import inverse_stft
from shared_models.watermark import perth
from shared_models.watermark.perth import THRESHOLD, load_watermark
from shared_models.watermark.spectrum import mark

pytestmark = pytest.mark.slow  # the exporter takes its time, once a session


@pytest.fixture(scope="module")
def voice() -> OnnxVoice:
    return OnnxVoice(exported()[0])


def as_arrays(voice: Voice) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in voice.tensors.items()}


def sentences(lengths: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random phonemes, silences among them, padded."""
    rng = torch.Generator().manual_seed(seed)
    phonemes = torch.randint(1, VOCABULARY_SIZE, (len(lengths), max(lengths)), generator=rng)
    valid = torch.tensor(lengths)
    return phonemes * (torch.arange(max(lengths)) < valid[:, None]), valid


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    duration_scale=st.sampled_from([0.3, 0.8, 1.0, 1.7, 4.0]),
    pitch_shift=st.floats(-12, 12),
    seed=st.integers(0, 10_000),
)
def test_mel_is_the_models_own_at_every_length(
    lengths: list[int], duration_scale: float, pitch_shift: float, seed: int
) -> None:
    folder, model, _ = exported()
    phonemes, valid = sentences(lengths, seed)
    spoken_by = speakers(model, len(lengths), seed)
    with torch.no_grad():
        expected, frames = model.synthesize(
            phonemes, valid, spoken_by, duration_scale=duration_scale, pitch_shift=pitch_shift
        )
    mel, mel_lengths = VOICES.setdefault(folder, OnnxVoice(folder)).mel(
        phonemes.numpy(), valid.numpy(), speaker=as_arrays(spoken_by),
        duration_scale=duration_scale, pitch_shift=pitch_shift,
    )  # fmt: skip
    assert mel_lengths.tolist() == frames.tolist()
    assert mel.shape == tuple(expected.shape)
    assert np.abs(mel - expected.numpy()).max() < 1e-4


HERE = Path(__file__).resolve().parents[3]
VOICES: dict[Path, OnnxVoice] = {}


def test_one_phoneme_and_a_padded_batch_of_three_and_a_long_text(voice: OnnxVoice) -> None:
    _, model, _ = exported()
    for lengths in ([1], [9, 1, 4], [400]):
        phonemes, valid = sentences(lengths, 1)
        spoken_by = speakers(model, len(lengths))
        with torch.no_grad():
            # Slowly, so that the long text needs more positions than the model's table holds.
            expected, _ = model.synthesize(phonemes, valid, spoken_by, duration_scale=6.0)
        mel, _ = voice.mel(phonemes.numpy(), valid.numpy(), speaker=as_arrays(spoken_by), duration_scale=6.0)
        assert np.abs(mel - expected.numpy()).max() < 1e-4
    assert mel.shape[1] > 2048


def test_an_utterance_of_silences_alone_lasts_a_frame(voice: OnnxVoice) -> None:
    _, model, _ = exported()
    silence = torch.full((1, 1), SYMBOL_IDS["sil"])
    with torch.no_grad():
        expected, _ = model.synthesize(silence, torch.tensor([1]), speakers(model, 1), duration_scale=1e-6)
    mel, lengths = voice.mel(silence.numpy(), duration_scale=1e-6)
    assert lengths.tolist() == [1]
    assert np.abs(mel - expected.numpy()).max() < 1e-4


def test_a_sentence_does_not_depend_on_the_others_in_its_batch(voice: OnnxVoice) -> None:
    phonemes, valid = sentences([12, 5, 8], 2)
    together, lengths = voice.mel(phonemes.numpy(), valid.numpy())
    for row, count in enumerate(valid.tolist()):
        alone, own = voice.mel(phonemes[row : row + 1, :count].numpy())
        assert own[0] == lengths[row]
        assert np.abs(alone[0] - together[row, : own[0]]).max() < 1e-4
        assert (together[row, own[0] :] == 0).all()


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 2), (3, 5), (1, 9), (2, 333)])
def test_vocos_makes_its_own_wave(voice: OnnxVoice, batch: int, frames: int) -> None:
    _, _, vocos = exported()
    mel = torch.randn(batch, frames, 80, generator=torch.Generator().manual_seed(frames)) * 2 - 5
    with torch.no_grad():
        expected = vocos(mel).numpy()
    wave = voice.vocode(mel.numpy())
    assert wave.shape == expected.shape == (batch, frames * 256)
    assert np.abs(expected).max() > 0.01
    assert np.abs(wave - expected).max() < 1e-4


def test_hifigan_makes_its_own_wave(tmp_path: Path) -> None:
    import onnxruntime

    small = HiFiGanDimensions(16, (8, 8, 4), (16, 16, 8), (3,), ((1, 2),), paired=False)
    generator = disturbed(HiFiGan(small), 0.1)
    before = [name for name, _ in generator.named_parameters()]
    export_vocoder(generator, tmp_path / "vocoder.onnx")
    assert [name for name, _ in generator.named_parameters()] == before, "exporting changed the generator"
    session = onnxruntime.InferenceSession(tmp_path / "vocoder.onnx")
    for batch, frames in ((1, 1), (2, 3), (1, 50)):
        mel = torch.randn(batch, frames, 80)
        with torch.no_grad():
            expected = generator(mel).numpy()
        assert np.abs(session.run(None, {"mel": mel.numpy()})[0] - expected).max() < 1e-4


@settings(max_examples=15)
@given(batch=st.integers(1, 3), frames=st.integers(1, 30), seed=st.integers(0, 999))
def test_real_inverse_stft_is_the_complex_one(batch: int, frames: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(batch, frames, 513, generator=rng, dtype=torch.complex64)
    window = torch.hann_window(1024)
    parts = inverse_real_dft(spectrum.real, spectrum.imag)
    assert torch.allclose(parts, torch.fft.irfft(spectrum, 1024), atol=1e-6)
    assert torch.allclose(overlap_add(parts, window), inverse_stft(spectrum, window), atol=1e-6)


def test_speaks_symbols_faster_and_slower(voice: OnnxVoice) -> None:
    symbols = ["sil", "h", "ɛ", "l", "ˈoʊ", "sil"]
    wave, slow = voice.speak(symbols), voice.speak(symbols, speed=0.25)
    assert wave.ndim == 1
    assert len(wave) % voice.hop == 0
    assert len(slow) > len(wave)
    assert np.isfinite(wave).all()


def test_what_is_spoken_is_marked_as_speech_of_the_networks_themselves_is(voice: OnnxVoice) -> None:
    symbols = ["sil", "h", "ɛ", "l", "ˈoʊ", "sil"]
    mel, wave = voice.unmarked(symbols)
    plain, _ = voice.mel(voice.encode(symbols)[None])
    np.testing.assert_array_equal(mel, sharpen(plain[0]))
    np.testing.assert_array_equal(wave, voice.vocode(mel[None])[0])
    marked = load_watermark().mark(wave, voice.sample_rate)
    np.testing.assert_allclose(voice.speak(symbols), marked, atol=1e-3 * float(np.abs(wave).max()))
    assert np.abs(marked - wave).max() > 0.01 * np.abs(wave).max()


def test_the_exported_mark_is_found_by_the_detector(voice: OnnxVoice, tmp_path: Path) -> None:
    recording, rate = read_audio(embedded_recordings(1)[0])
    watermark = load_watermark()
    assert watermark.score(recording, rate) < THRESHOLD
    quantize_voice(exported()[0], tmp_path)
    for each in (voice, OnnxVoice(tmp_path)):
        assert watermark.score(mark(recording, rate, each._residual), rate) > THRESHOLD


def test_without_the_mark_nothing_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, model, generator = exported()
    monkeypatch.setattr(perth, "find_spec", lambda _: None)
    load_watermark.cache_clear()
    with pytest.raises(WatermarkError, match="never made without its mark"):
        write_voice(
            tmp_path / "voice", model, generator, speakers(model, 1), form="onnx", base=BASE, vocoder="vocos"
        )
    assert not (tmp_path / "voice").exists()


def test_runs_without_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from shared_models.export.onnx_voice import OnnxVoice; "
        "w = OnnxVoice(Path(sys.argv[1])).speak(['sil', 'h', 'sil']); assert len(w) > 0; "
        "print('torch' in sys.modules)"
    )
    arguments = [sys.executable, "-c", code, str(exported()[0])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_files_name_no_machine_and_carry_no_sources() -> None:
    for name in (ACOUSTIC, VOCODER, WATERMARK):
        content = (exported()[0] / name).read_bytes()
        assert all(word not in content for word in (b'.py"', b".py:", b"site-packages", str(HERE).encode()))


def test_a_profile_of_the_same_base_speaks_and_another_does_not(voice: OnnxVoice, tmp_path: Path) -> None:
    _, model, _ = exported()
    tensors = dict(speakers(model, 1, 8).tensors)
    save_file(tensors, tmp_path / "me.safetensors", {"base": BASE})
    save_file(tensors, tmp_path / "other.safetensors", {"base": "f" * 64})
    mine = voice.voice(tmp_path / "me.safetensors")
    assert not np.array_equal(mine["embedding"], voice.speaker["embedding"])
    with pytest.raises(CheckpointError, match=r"cloned on base ffffffffffff .* exported from 0123456789ab"):
        voice.voice(tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10")
    with pytest.raises(CheckpointError, match=r"torn\.safetensors cannot be read"):
        voice.voice(tmp_path / "torn.safetensors")


@pytest.mark.parametrize(("symbols", "named"), [(["sil", "xyz"], "'xyz' is no phoneme"), ([], "no phoneme")])
def test_what_cannot_be_said_is_refused(voice: OnnxVoice, symbols: list[str], named: str) -> None:
    with pytest.raises(TextError, match=named):
        voice.speak(symbols)


@pytest.mark.parametrize(
    "name", ["voice.json", "acoustic.onnx", "vocoder.onnx", "watermark.onnx", "speaker.safetensors"]
)
@pytest.mark.parametrize("fault", ["missing", "torn", "empty"])
def test_a_damaged_folder_is_named(tmp_path: Path, name: str, fault: str) -> None:
    folder = shutil.copytree(exported()[0], tmp_path / "voice")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if fault != "missing":
        (folder / name).write_bytes(content[: len(content) // 3] if fault == "torn" else b"")
    with pytest.raises(CheckpointError, match=r"export"):
        OnnxVoice(folder)


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(exported()[0], tmp_path / "voice")
    (folder / "voice.json").write_text(json.dumps({"format": "fedvoice-onnx-9", "symbols": []}))
    with pytest.raises(CheckpointError, match="not a voice of this version"):
        OnnxVoice(folder)


def test_a_vocoder_that_is_no_single_graph_is_refused_and_leaves_no_voice(tmp_path: Path) -> None:
    diffwave = DiffWave(DiffWaveDimensions())
    with pytest.raises(RecipeError, match="DiffWave cannot be exported"):
        vocoder_graph(diffwave)
    model = small_model()
    with pytest.raises(RecipeError):
        write_voice(
            tmp_path / "voice",
            model.acoustic,
            diffwave,
            speakers(model, 1),
            form="onnx",
            base=BASE,
            vocoder="x",
        )
    assert not (tmp_path / "voice").exists()


def test_exporting_again_gives_the_same_file(tmp_path: Path) -> None:
    folder, _, vocos = exported()
    export_vocoder(vocos, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (folder / VOCODER).read_bytes()
