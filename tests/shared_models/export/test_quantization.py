"""int8 weights: how far rounding may move them, how small the files are, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

# ruff: noqa: E402 - what is imported further down needs the extra
onnx = pytest.importorskip("onnx", reason="SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'")
pytest.importorskip("onnxruntime", reason="SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'")
pytest.importorskip("onnxscript", reason="SKIPPED FOR LACK OF THE EXTRA: pip install 'fedvoice[export]'")

from exported_voice import exported
from onnx import TensorProto, helper, numpy_helper

from shared_models.errors import CheckpointError
from shared_models.export.onnx_voice import ACOUSTIC, VOCODER, OnnxVoice
from shared_models.export.quantization import quantize, round_weights
from shared_models.export.voice_folder import quantize_voice
from shared_models.text.symbols import VOCABULARY_SIZE


@settings(max_examples=50)
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    spread=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 9999),
    data=st.data(),
)
def test_rounding_moves_no_weight_by_more_than_half_a_step_of_its_own_channel(
    shape: list[int], spread: float, seed: int, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    weight = (spread * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)
    np.moveaxis(weight, axis, 0)[0] = 0  # a channel that pruning or training left empty
    integers, scale = round_weights(weight, axis)
    assert integers.dtype == np.int8
    assert scale.shape == (shape[axis],)
    steps = scale.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    assert (np.abs(integers * steps - weight) <= 0.5001 * steps).all()
    assert (np.take(integers, 0, axis) == 0).all()


@pytest.mark.slow
def test_files_are_far_smaller_and_the_mel_and_wave_stay_close(tmp_path: Path) -> None:
    folder, _, _ = exported()
    quantize_voice(folder, tmp_path / "int8")
    for name in (ACOUSTIC, VOCODER):
        assert (folder / name).stat().st_size > 2 * (tmp_path / "int8" / name).stat().st_size
    exact, rounded = OnnxVoice(folder), OnnxVoice(tmp_path / "int8")
    assert rounded.description.form == "int8"
    assert rounded.description.base == exact.description.base
    phonemes = torch.randint(1, VOCABULARY_SIZE, (1, 40), generator=torch.Generator().manual_seed(2)).numpy()
    (one, one_length), (other, other_length) = exact.mel(phonemes), rounded.mel(phonemes)
    assert abs(int(one_length[0]) - int(other_length[0])) <= 0.05 * one_length[0]
    if one.shape == other.shape:
        assert np.abs(one - other).mean() < 0.1 * one.std()
    wave, again = exact.vocode(one), rounded.vocode(one)
    error = np.square(wave - again).mean()
    assert 10 * np.log10(np.square(wave).mean() / error) > 20


def operator(node: onnx.NodeProto, weight: np.ndarray, inputs: list[int], name: str = "w") -> onnx.ModelProto:
    """A model of one operator."""
    kind = TensorProto.INT64 if node.op_type == "Gather" else TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info("x", kind, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, name)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


CASES = [
    (helper.make_node("MatMul", ["x", "w"], ["y"]), (24, 32), [5, 24]),
    (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), (32, 24), [5, 24]),
    (helper.make_node("Gemm", ["x", "w"], ["y"]), (24, 32), [5, 24]),
    (helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3]), (32, 8, 3), [1, 8, 11]),
    (
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], kernel_shape=[4], strides=[2]),
        (8, 32, 4),
        [1, 8, 6],
    ),
    (helper.make_node("Gather", ["w", "x"], ["y"]), (64, 16), [5]),
]


@pytest.mark.parametrize(("node", "shape", "inputs"), CASES, ids=lambda c: getattr(c, "op_type", ""))
def test_every_operator_has_a_scale_for_each_output_channel(
    tmp_path: Path, node: onnx.NodeProto, shape: tuple[int, ...], inputs: list[int]
) -> None:
    """One output channel a million times larger than the rest must not cost the others their digits."""
    import onnxruntime

    rng = np.random.default_rng(1)
    weight = rng.standard_normal(shape).astype(np.float32)
    axis = {"MatMul": 1, "Gemm": 0 if node.attribute else 1, "Conv": 0, "ConvTranspose": 1, "Gather": 0}[
        node.op_type
    ]
    np.moveaxis(weight, axis, 0)[0] *= 1e6
    onnx.save(operator(node, weight, inputs), tmp_path / "exact.onnx")
    assert quantize(tmp_path / "exact.onnx", tmp_path / "int8.onnx") == 1
    x = rng.standard_normal(inputs).astype(np.float32) if node.op_type != "Gather" else np.arange(1, 6)
    results = [
        onnxruntime.InferenceSession(tmp_path / name).run(None, {"x": x})[0]
        for name in ("exact.onnx", "int8.onnx")
    ]
    channels = {"Conv": 1, "ConvTranspose": 1}.get(node.op_type, len(results[0].shape) - 1)
    if node.op_type == "Gather":
        exact, rounded = results
    else:
        exact, rounded = (np.take(r, range(1, r.shape[channels]), channels) for r in results)
    assert np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_what_is_small_or_asked_for_stays_exact(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "head.weight"], ["y"])
    weight = np.random.default_rng(0).standard_normal((24, 32)).astype(np.float32)
    onnx.save(operator(node, weight, [5, 24], "head.weight"), tmp_path / "exact.onnx")
    assert quantize(tmp_path / "exact.onnx", tmp_path / "kept.onnx", keep=("head",)) == 0
    onnx.save(operator(node, weight[:, :8], [5, 24], "head.weight"), tmp_path / "exact.onnx")
    assert quantize(tmp_path / "exact.onnx", tmp_path / "kept.onnx") == 0


@pytest.mark.parametrize("content", [None, b"", b"this is no graph at all"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.onnx"):
        quantize(tmp_path / "x.onnx", tmp_path / "y.onnx")
    assert not (tmp_path / "y.onnx").exists()
