"""Weights of an ONNX graph as int8, a scale for each output channel.

Each large weight becomes ``round(w / scale)`` in [-127, 127] with ``scale = max |w| / 127`` over everything
that makes one output (one row, for an embedding), followed by ONNX's DequantizeLinear. Activations stay in
float32: what int8 costs is then rounding alone, bounded by half a scale, with no range to calibrate, and
convolutions are served as well as matrix products. The file is nearly four times smaller; a runtime may fold
the weights back when it loads. On a small Vocos this leaves 52 dB between the waves before and after; int8
activations with ranges taken at run time left 36 to 41 dB, moved some durations, and were slower in
convolutions. The log magnitudes of a magnitude network move by 0.005 on average. The search then finds other
phases, so that 12 to 18 dB are left between the waves, whose mels are equally far from the true one.

Symmetric rounding per channel as in R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient
inference" (arXiv 1806.08342), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_models.errors import CheckpointError, MissingExtraError
from shared_models.files import write_atomically

SMALLEST = 512
"""Weights of fewer numbers stay float32: they cost nothing, and biases and norms are sensitive."""
_LARGEST = 127
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gather": 0}
"""Which axis of its weight counts an operator's outputs."""


def quantize(source: Path, target: Path, *, keep: tuple[str, ...] = ()) -> int:
    """Write ``source`` with int8 weights to ``target``; how many weights were rounded.

    Weights whose name contains one of ``keep`` stay float32. Raises :class:`MissingExtraError`, and
    :class:`CheckpointError` for a file that is no ONNX graph.
    """
    onnx = _onnx()
    model = _load(onnx, source)
    weights = {i.name: i for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT}
    axes = dict(_roles(onnx, model.graph, weights))
    rounded = 0
    for name, axis in axes.items():
        array = onnx.numpy_helper.to_array(weights[name])
        if array.size < SMALLEST or array.ndim < 2 or any(part in name for part in keep):
            continue
        integers, scale = round_weights(array, axis)
        _replace(onnx, model.graph, weights[name], integers, scale, axis)
        rounded += 1
    write_atomically(target, model.SerializeToString())
    return rounded


def round_weights(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 of ``weight``'s shape, and the scale ``(channels,)`` of each slice along ``axis``."""
    others = tuple(a for a in range(weight.ndim) if a != axis)
    largest = np.abs(weight).max(axis=others)
    # A channel of zeros has any scale: 1 divides without a special case.
    scale = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
    shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
    integers = np.rint(weight / scale.reshape(shape)).clip(-_LARGEST, _LARGEST).astype(np.int8)
    return integers, scale


def _roles(onnx: Any, graph: Any, weights: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Weights by name with their channel axis; one that is used in two ways is left out."""
    found: dict[str, set[int | None]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in weights:
                found.setdefault(name, set()).add(_axis(onnx, node, place))
    for name, axes in found.items():
        if len(axes) == 1 and (axis := axes.pop()) is not None:
            yield name, axis


def _axis(onnx: Any, node: Any, place: int) -> int | None:
    if node.op_type == "Gemm" and place == 1:
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        return 0 if settings.get("transB", 0) else 1
    if place == (0 if node.op_type == "Gather" else 1):
        return _CHANNEL_AXIS.get(node.op_type)
    return None


def _replace(onnx: Any, graph: Any, weight: Any, integers: Any, scale: Any, axis: int) -> None:
    """Put int8 numbers, their scale and a DequantizeLinear of the weight's own name in its place."""
    name = weight.name
    graph.initializer.remove(weight)
    stored = onnx.numpy_helper.from_array(integers, f"{name}.int8")
    scales = onnx.numpy_helper.from_array(scale, f"{name}.scale")
    graph.initializer.extend([stored, scales])
    node = onnx.helper.make_node(
        "DequantizeLinear", [stored.name, scales.name], [name], name=f"{name}.restored", axis=axis
    )
    graph.node.insert(0, node)


def _load(onnx: Any, path: Path) -> Any:
    try:
        model = onnx.load(path)
    except OSError as error:
        raise CheckpointError(
            f"the graph {path} cannot be read ({error.strerror}): export it again"
        ) from None
    except Exception as error:
        # protobuf's own DecodeError, whose module is private to the installed protobuf.
        raise CheckpointError(f"{path} is not a whole ONNX graph ({error}): export it again") from None
    if not model.graph.node:
        raise CheckpointError(f"{path} is an ONNX graph that computes nothing: export it again")
    return model


def _onnx() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        from shared_models.export.onnx_graph import EXTRA

        raise MissingExtraError(f"int8 weights {EXTRA}") from error
    return onnx
