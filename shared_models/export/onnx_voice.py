"""An exported voice model at work: NumPy, SciPy and ONNX Runtime, without torch.

A folder holds ``voice.json`` (what the graphs are), ``acoustic.onnx``, ``vocoder.onnx``, ``watermark.onnx`` and
``speaker.safetensors``, the voice that speaks by default. Voice profiles of the same base fit as well.

What is spoken carries the same mark as all speech of FedVoice. A folder without the mark's graph is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from shared_models.audio.postfilter import CONTRAST, sharpen
from shared_models.errors import CheckpointError, MissingExtraError, TextError
from shared_models.export.phase_search import find_wave
from shared_models.watermark.spectrum import mark

FORMAT = "fedvoice-onnx-1"
DESCRIPTION, ACOUSTIC, VOCODER, SPEAKER = "voice.json", "acoustic.onnx", "vocoder.onnx", "speaker.safetensors"
WATERMARK = "watermark.onnx"
WAVE, LOG_MAGNITUDE = "wave", "log_magnitude"
"""What a vocoder's graph may give: the second wants phases."""
CONTROLS = ("phonemes", "lengths", "duration_scale", "pitch_shift")
"""Inputs of the acoustic graph that say what is spoken; all others are the tensors of a voice."""
VOICE = "voice."
"""What the names of those begin with, lest a part of the graph has the name already. Earlier exports lack it."""
Array = NDArray[np.float32]
VoiceArrays = dict[str, Array]
"""The tensors of a voice by name, one row each."""


@dataclass(frozen=True, slots=True)
class Description:
    """What ``voice.json`` says."""

    form: str
    """How the graphs came about: onnx, int8, pruned or distilled."""
    base: str
    """Hash of the shared weights, to which voice profiles are bound."""
    vocoder: str
    symbols: tuple[str, ...]
    """Phonemes in the order of their ids."""
    sample_rate: int
    hop: int
    iterations: int = 0
    """Of the phase search that follows the vocoder's graph; 0 where the graph makes the wave itself."""
    contrast: float = CONTRAST
    """Of the postfilter between the graphs."""

    def to_json(self) -> str:
        """The file's content."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({"format": FORMAT} | fields, ensure_ascii=False, indent=1)


class OnnxVoice:
    """Speaks what an exported folder has learnt.

    Example::

        voice = OnnxVoice(Path("deployed/int8"), threads=2)
        wave = voice.speak(["sil", "h", "ɛ", "l", "ˈoʊ", "sil"])  # (samples,) at voice.sample_rate

    Raises :class:`CheckpointError` for a folder that is not whole, and :class:`MissingExtraError`.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self.folder = folder
        self.description = read_description(folder)
        self.sample_rate, self.hop = self.description.sample_rate, self.description.hop
        self._ids = {symbol: number for number, symbol in enumerate(self.description.symbols)}
        self._acoustic = _session(folder / ACOUSTIC, threads)
        self._vocoder = _session(folder / VOCODER, threads)
        self._watermark = _session(folder / WATERMARK, threads)
        gives = self._vocoder.get_outputs()[0].name
        if gives != (LOG_MAGNITUDE if self.description.iterations else WAVE):
            raise CheckpointError(
                f"{folder / VOCODER} gives '{gives}', and {DESCRIPTION} beside it describes another vocoder: export "
                "it again"
            )
        inputs = [i for i in self._acoustic.get_inputs() if i.name not in CONTROLS]
        self._inputs = {i.name.removeprefix(VOICE): i.name for i in inputs}
        self._takes = {i.name.removeprefix(VOICE): tuple(i.shape[1:]) for i in inputs}
        self.speaker = self._fitting(read_voice(folder / SPEAKER), folder / SPEAKER)

    def voice(self, profile: Path) -> VoiceArrays:
        """The voice of a profile. Raises :class:`CheckpointError` if it is not one of this base."""
        base = _header(profile).get("base", "")
        if base != self.description.base:
            raise CheckpointError(
                f"the voice in {profile} was cloned on base {base[:12] or 'none'} and {self.folder} was exported from "
                f"{self.description.base[:12]}: clone it again on that base"
            )
        return self._fitting(read_voice(profile), profile)

    def speak(
        self,
        symbols: Sequence[str],
        *,
        speaker: VoiceArrays | None = None,
        speed: float = 1.0,
        pitch_shift: float = 0.0,
    ) -> Array:
        """``symbols`` of one sentence as a wave ``(samples,)``; ``pitch_shift`` in semitones, ``speed`` 2 is twice
        as fast. The mark is in it. Raises :class:`TextError` for a symbol that the model does not know, and for none
        at all, and :class:`WatermarkError` for sound that cannot be marked.
        """
        _, wave = self.unmarked(symbols, speaker=speaker, speed=speed, pitch_shift=pitch_shift)
        return mark(wave, self.sample_rate, self._residual)

    def unmarked(
        self,
        symbols: Sequence[str],
        *,
        speaker: VoiceArrays | None = None,
        speed: float = 1.0,
        pitch_shift: float = 0.0,
    ) -> tuple[Array, Array]:
        """The mel ``(T, 80)`` that the vocoder is given and the wave ``(T * hop,)`` before the mark, for measurements:
        what leaves is spoken by :meth:`speak`.
        """
        mel, _ = self.mel(
            self.encode(symbols)[None], speaker=speaker, duration_scale=1 / speed, pitch_shift=pitch_shift
        )
        sharp = sharpen(mel[0], self.description.contrast)
        return sharp, np.asarray(self.vocode(sharp[None])[0])

    def encode(self, symbols: Sequence[str]) -> NDArray[np.int64]:
        """Ids ``(L,)`` of phonemes; raises :class:`TextError` for an unknown one."""
        unknown = [symbol for symbol in symbols if symbol not in self._ids]
        if unknown or not symbols:
            what = f"{unknown[0]!r} is no phoneme of this model" if unknown else "there is no phoneme to say"
            raise TextError(f"{what}: give symbols that {self.folder / DESCRIPTION} lists")
        return np.array([self._ids[symbol] for symbol in symbols], dtype=np.int64)

    def mel(
        self,
        phonemes: NDArray[np.int64],
        lengths: NDArray[np.int64] | None = None,
        *,
        speaker: VoiceArrays | None = None,
        duration_scale: float = 1.0,
        pitch_shift: float = 0.0,
    ) -> tuple[Array, NDArray[np.int64]]:
        """``phonemes (B, L)``, 0 beyond ``lengths (B,)``; to natural-log mel ``(B, T, 80)`` and its lengths.

        ``speaker`` has B rows, or one that speaks all of them. Mel beyond an utterance's length is 0.
        """
        batch, longest = phonemes.shape
        given = self.speaker if speaker is None else speaker
        rows = {self._inputs[n]: np.broadcast_to(v, (batch, *v.shape[1:])) for n, v in given.items()}
        found = self._acoustic.run(
            None,
            {
                "phonemes": phonemes,
                "lengths": np.full(batch, longest, dtype=np.int64) if lengths is None else lengths,
                "duration_scale": np.array(duration_scale, dtype=np.float32),
                "pitch_shift": np.array(pitch_shift, dtype=np.float32),
                **rows,
            },
        )
        return found[0], found[1]

    def _residual(self, levels: Array) -> Array:
        return np.asarray(self._watermark.run(None, {"levels": levels[None]})[0][0])

    def _fitting(self, voice: VoiceArrays, path: Path) -> VoiceArrays:
        """``voice`` if the graph takes such a one. Raises :class:`CheckpointError`."""
        if {name: array.shape[1:] for name, array in voice.items()} != self._takes:
            raise CheckpointError(
                f"the voice in {path} holds {', '.join(sorted(voice))} of other sizes or names than the graphs in "
                f"{self.folder} take ({', '.join(sorted(self._takes))}): clone it again"
            )
        return voice

    def vocode(self, mel: Array) -> Array:
        """Wave ``(B, T * hop)`` of natural-log mel ``(B, T, 80)``, before the mark."""
        found = np.asarray(self._vocoder.run(None, {"mel": mel})[0])
        if not self.description.iterations:
            return found
        return find_wave(np.exp(found, out=found), self.hop, self.description.iterations)


def read_description(folder: Path) -> Description:
    """What the export in ``folder`` is. Raises :class:`CheckpointError` if it is none."""
    path = folder / DESCRIPTION
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format", None) != FORMAT:
            raise CheckpointError(f"{path} is not a voice of this version ({FORMAT}): export it again")
        return Description(**data | {"symbols": tuple(data["symbols"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} holds no exported voice that can be read ({error}): make one with `fedvoice export`"
        ) from None


def read_voice(path: Path) -> VoiceArrays:
    """The tensors of a voice, from a profile or an export. Raises :class:`CheckpointError`."""
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the voice {path} cannot be read ({error}): export or clone it again"
        ) from None


def _header(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the voice {path} cannot be read ({error}): clone it again") from None


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "running an exported voice needs the 'export' extra: pip install 'fedvoice[export]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Lets int8 weights be restored once, when the graph loads, rather than at every call.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's errors have no common class but Exception.
        raise CheckpointError(
            f"the graph {path} cannot be loaded ({str(error).splitlines()[0]}): export it again"
        ) from None
