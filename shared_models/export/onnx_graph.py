"""Networks as ONNX files with free batch and time, by torch's exporter."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared_models.acoustic.fastspeech2 import AcousticModel
from shared_models.audio.mel import N_MELS
from shared_models.errors import MissingExtraError
from shared_models.export.acoustic_graph import OUTPUTS, AcousticGraph
from shared_models.export.onnx_voice import CONTROLS, LOG_MAGNITUDE, VOICE, WAVE
from shared_models.export.vocoder_graph import phase_iterations, vocoder_graph
from shared_models.files import write_atomically
from shared_models.watermark.perth import Encoder
from shared_models.watermark.spectrum import BINS

OPSET = 18
EXTRA = "needs the 'export' extra: pip install 'fedvoice[export]'"
_Axes = Mapping[str, Mapping[int, str]]
"""Of each input or output, which axes are free and what they are called."""


def export_acoustic(model: AcousticModel, path: Path) -> None:
    """Write phonemes-to-mel as one graph: see :class:`AcousticGraph` for its inputs and outputs.

    Raises :class:`MissingExtraError`, and StorageError on a full disk.
    """
    d = model.dimensions
    batch, phonemes = 3, 7  # neither 0 nor 1, which the exporter would take for constants
    example = (
        torch.full((batch, phonemes), min(2, d.vocabulary - 1)),
        torch.tensor([phonemes, 2, 4]),
        # Not last, where the exporter takes a dict for keywords.
        {declared.name: torch.zeros(batch, *declared.shape) for declared in model.takes},
        torch.tensor(4.0),
        torch.tensor(0.0),
    )
    of_voice = [f"{VOICE}{declared.name}" for declared in model.takes]
    axes: dict[str, dict[int, str]] = {name: {0: "batch"} for name in ("phonemes", "lengths", *of_voice)}
    axes["phonemes"][1] = "phonemes"
    outputs = {"mel": {0: "batch", 1: "frames"}, "mel_lengths": {0: "batch"}}
    _export(
        AcousticGraph(model),
        example,
        (*CONTROLS[:2], *of_voice, *CONTROLS[2:]),
        OUTPUTS,
        axes | outputs,
        path,
    )


def export_vocoder(generator: nn.Module, path: Path) -> None:
    """Write ``mel (B, T, 80)`` to ``wave (B, T * HOP)`` as a graph, or to ``log_magnitude (B, T, bins)`` if the
    generator is one that searches for phases.

    Raises :class:`RecipeError` for a generator that is no single graph, and as :func:`export_acoustic` does.
    """
    output, steps = (LOG_MAGNITUDE, "frames") if phase_iterations(generator) else (WAVE, "samples")
    axes = {"mel": {0: "batch", 1: "frames"}, output: {0: "batch", 1: steps}}
    example = (torch.zeros(3, 7, N_MELS),)
    _export(vocoder_graph(generator), example, ("mel",), (output,), axes, path)


def export_watermark(encoder: Encoder, path: Path) -> None:
    """Write ``levels (1, bins, frames)`` to ``residual``, of the same shape, as a graph; raises as
    :func:`export_acoustic` does.
    """
    axes = {"levels": {2: "frames"}, "residual": {2: "frames"}}
    _export(encoder, (torch.zeros(1, BINS, 7),), ("levels",), ("residual",), axes, path)


def _export(
    graph: nn.Module,
    example: tuple[Tensor | dict[str, Tensor], ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: _Axes,
    path: Path,
) -> None:
    _require_exporter()
    names = iter(inputs)
    free = [
        {name: _free(axes, next(names)) for name in part}
        if isinstance(part, dict)
        else _free(axes, next(names))
        for part in example
    ]
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            dynamic_shapes=tuple(free),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _name_axes(model, axes)
    _forget_sources(model)
    write_atomically(path, model.SerializeToString())


def _free(axes: _Axes, name: str) -> dict[int, Any]:
    return dict.fromkeys(axes.get(name, {}), torch.export.Dim.DYNAMIC)


def _name_axes(model: Any, axes: _Axes) -> None:
    """Call free axes what they are: the exporter numbers them."""
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in axes.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = name


def _forget_sources(model: Any) -> None:
    """Drop the stack traces that the exporter leaves in every node: they are large and name this machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    # The exporter's guesses at inner shapes carry its numbered axes; runtimes infer them anew.
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]


def _require_exporter() -> None:
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise MissingExtraError(f"writing ONNX {EXTRA}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
