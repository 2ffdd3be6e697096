"""An exported magnitude network: the same magnitudes, and the same wave by a search without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'")
pytest.importorskip("onnxscript", reason="SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'")

import onnxruntime
from exported_voice import exported, exported_magnitude
from test_phase_search import CLOSE_DB, decibels, voice_like

from shared_models.audio.mel import log_mel
from shared_models.errors import CheckpointError
from shared_models.export.onnx_voice import DESCRIPTION, VOCODER, OnnxVoice
from shared_models.export.voice_folder import quantize_voice

pytestmark = pytest.mark.slow  # the exporter takes its time, once a session


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 2), (3, 5), (1, 9), (2, 333)])
def test_graph_gives_the_networks_log_magnitude(batch: int, frames: int) -> None:
    folder, network = exported_magnitude()
    session = onnxruntime.InferenceSession(folder / VOCODER)
    assert [output.name for output in session.get_outputs()] == ["log_magnitude"]
    mel = torch.randn(batch, frames, 80, generator=torch.Generator().manual_seed(frames)) * 2 - 5
    mel[:, -1] = -11.513
    with torch.no_grad():
        expected = network.log_magnitude(mel).numpy()
    found = session.run(None, {"mel": mel.numpy()})[0]
    assert found.shape == expected.shape == (batch, frames, 513)
    assert np.abs(found - expected).max() < 1e-4


def test_wave_is_the_vocoders_own() -> None:
    folder, network = exported_magnitude()
    mel = torch.cat([log_mel(voice_like(90)), log_mel(voice_like(90, 1)) - 1])
    with torch.no_grad():
        expected = network(mel).numpy()
    wave = OnnxVoice(folder, threads=2).vocode(mel.numpy())
    assert wave.shape == expected.shape == (2, 90 * 256)
    assert all(decibels(a, b) > CLOSE_DB for a, b in zip(expected, wave, strict=True))


def test_int8_keeps_the_magnitudes(tmp_path: Path) -> None:
    folder, _ = exported_magnitude()
    quantize_voice(folder, tmp_path / "int8")
    assert (tmp_path / "int8" / VOCODER).stat().st_size < 0.8 * (folder / VOCODER).stat().st_size
    mel = log_mel(voice_like(90)).numpy()
    exact, rounded = (
        onnxruntime.InferenceSession(where / VOCODER).run(None, {"mel": mel})[0]
        for where in (folder, tmp_path / "int8")
    )
    assert np.abs(exact - rounded).mean() < 0.02
    assert np.abs(exact - rounded).max() < 0.2
    assert np.isfinite(OnnxVoice(tmp_path / "int8").vocode(mel)).all()


def test_searches_without_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from shared_models.export.onnx_voice import OnnxVoice; "
        "w = OnnxVoice(Path(sys.argv[1])).speak(['sil', 'h', 'sil']); assert len(w) > 0; "
        "print('torch' in sys.modules)"
    )
    arguments = [sys.executable, "-c", code, str(exported_magnitude()[0])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_graph_beside_the_description_of_another_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(exported_magnitude()[0], tmp_path / "voice")
    shutil.copyfile(exported()[0] / VOCODER, folder / VOCODER)
    with pytest.raises(CheckpointError, match=r"vocoder\.onnx gives 'wave', and voice\.json beside it"):
        OnnxVoice(folder)


def test_a_description_from_before_phases_were_searched_is_still_read(tmp_path: Path) -> None:
    folder = shutil.copytree(exported()[0], tmp_path / "voice")
    old = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    assert old.pop("iterations") == 0
    (folder / DESCRIPTION).write_text(json.dumps(old), encoding="utf-8")
    assert OnnxVoice(folder).vocode(np.zeros((1, 3, 80), np.float32)).shape == (1, 3 * 256)
