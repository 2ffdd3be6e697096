"""Writing an exported voice: the folder that :class:`shared_models.export.onnx_voice.OnnxVoice` reads."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save
from torch import nn

from shared_models.acoustic.fastspeech2 import AcousticModel
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.export.onnx_graph import export_acoustic, export_vocoder, export_watermark
from shared_models.export.onnx_voice import (
    ACOUSTIC,
    DESCRIPTION,
    SPEAKER,
    VOCODER,
    WATERMARK,
    Description,
    read_description,
)
from shared_models.export.quantization import quantize
from shared_models.export.vocoder_graph import phase_iterations
from shared_models.files import storage_problems, write_atomically
from shared_models.speakers.voice import Voice, require_fit
from shared_models.text.symbols import SYMBOLS
from shared_models.watermark.perth import load_watermark


def write_voice(
    folder: Path,
    model: AcousticModel,
    generator: nn.Module,
    speaker: Voice,
    *,
    form: str,
    base: str,
    vocoder: str,
) -> None:
    """Export ``model`` and ``generator``, with ``speaker`` (one row) as the voice that speaks by default.

    ``base`` is the hash of the shared weights, ``vocoder`` the generator's kind. Raises
    :class:`MissingExtraError`, :class:`WatermarkError` without the mark that the voice is to put into its speech,
    :class:`RecipeError` for a vocoder that is no single graph, and StorageError.
    """
    require_fit(speaker, model.takes)
    # First what may be refused: a folder without its description is no voice, and nothing reads it.
    watermark = load_watermark()
    export_vocoder(generator, folder / VOCODER)
    export_acoustic(model, folder / ACOUSTIC)
    export_watermark(watermark.encoder, folder / WATERMARK)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in speaker.tensors.items()}
    write_atomically(folder / SPEAKER, save(tensors, {"base": base}))
    description = Description(
        form, base, vocoder, SYMBOLS, SAMPLE_RATE, HOP, phase_iterations(generator), model.dimensions.contrast
    )
    write_atomically(folder / DESCRIPTION, description.to_json() + "\n")


def quantize_voice(source: Path, folder: Path) -> None:
    """Write the exported voice in ``source`` with int8 weights to ``folder``.

    Raises :class:`CheckpointError` where ``source`` is no whole export, and as :func:`write_voice` does.
    """
    description = read_description(source)
    for graph in (VOCODER, ACOUSTIC, WATERMARK):
        quantize(source / graph, folder / graph)
    with storage_problems(folder / SPEAKER):
        shutil.copyfile(source / SPEAKER, folder / SPEAKER)
    write_atomically(folder / DESCRIPTION, replace(description, form="int8").to_json() + "\n")
