"""Files of speaker encoders: ours, the public layouts, and those that are neither."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from shared_models.errors import CheckpointError
from shared_models.speakers.encoders import ENCODERS
from shared_models.speakers.encoders.encoder import build_encoder
from shared_models.speakers.encoders.encoder_file import load_encoder, save_encoder

SMALL: dict[str, dict[str, Any]] = {
    "d_vector": {"hidden": 8, "layers": 2, "width": 6},
    "x_vector": {"channels": 8, "aggregated": 12, "width": 6, "norm": "layer"},
    "ecapa": {"channels": 16, "aggregated": 12, "attention": 4, "squeezed": 5, "scale": 4, "width": 6},
}
SPEECHBRAIN = [  # some of the names in SpeechBrain's published embedding_model.ckpt
    "blocks.0.conv.conv.weight", "blocks.0.norm.norm.running_var", "blocks.1.tdnn1.conv.conv.bias",
    "blocks.3.res2net_block.blocks.2.norm.norm.num_batches_tracked", "blocks.2.se_block.conv2.conv.weight",
    "mfa.conv.conv.weight", "mfa.norm.norm.weight", "asp.tdnn.norm.norm.bias", "asp.conv.conv.weight",
    "asp_bn.norm.running_mean", "fc.conv.bias",
]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_an_encoder_comes_back_as_it_was_written(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(kind, **SMALL[kind])
    save_encoder(tmp_path / "e.safetensors", kind, encoder, {"recipe": "of a test"})
    loaded = load_encoder(tmp_path / "e.safetensors", kind)
    assert loaded.sizes == encoder.sizes
    assert not loaded.training
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in encoder.state_dict().items())


def test_speechbrains_ecapa_loads_by_its_own_names_and_tells_its_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = build_encoder("ecapa", **SMALL["ecapa"])
    state = encoder.state_dict()
    assert set(SPEECHBRAIN) <= set(state)
    torch.save(dict(state), tmp_path / "embedding_model.ckpt")
    for path in (tmp_path, tmp_path / "embedding_model.ckpt"):
        loaded = load_encoder(path, "ecapa")
        assert loaded.sizes == encoder.sizes
        assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in state.items())


def test_resemblyzers_checkpoint_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = build_encoder("d_vector").state_dict()
    besides = {"similarity_weight": torch.tensor([10.0]), "similarity_bias": torch.tensor([-5.0])}
    torch.save({"step": 1, "model_state": {**state, **besides}}, tmp_path / "pretrained.pt")
    loaded = load_encoder(tmp_path / "pretrained.pt", "d_vector")
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in state.items())


class Malicious:
    """A pickle that would run something."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_what_is_no_encoder_is_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = build_encoder("x_vector", **SMALL["x_vector"])
    save_encoder(tmp_path / "x.safetensors", "x_vector", encoder)
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:-100])
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Malicious()))
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"model_state": {"lstm.weight_ih_l0": torch.zeros(3, 3)}}, tmp_path / "other.pt")
    torch.save({"blocks.0.conv.conv.weight": torch.zeros(4, 3, 5)}, tmp_path / "part.ckpt")
    for name, kind, said in [
        ("x.safetensors", "ecapa", "kind 'x_vector'"),
        ("torn.safetensors", "x_vector", "cannot be read"),
        ("none.safetensors", "x_vector", "cannot be read"),
        # Nor is anybody advised to run it.
        (
            "evil.pt",
            "d_vector",
            r"cannot be read \(it is no file of weights, or holds more than weights\): name",
        ),
        ("empty.pt", "d_vector", "cannot be read"),
        ("other.pt", "d_vector", "does not fit"),
        ("other.pt", "x_vector", "no public encoder of kind 'x_vector'"),
        ("part.ckpt", "ecapa", "is not SpeechBrain's"),
    ]:
        with pytest.raises(CheckpointError, match=said):
            load_encoder(tmp_path / name, kind)
    assert not (tmp_path / "ran").exists()
    with torch.no_grad():
        encoder.output.bias[0] = torch.nan
    save_encoder(tmp_path / "nan.safetensors", "x_vector", encoder)
    with pytest.raises(CheckpointError, match="NaN"):
        load_encoder(tmp_path / "nan.safetensors", "x_vector")
