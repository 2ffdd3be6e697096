"""Everything of a device's that must never be sent, as byte patterns, and a search for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import soundfile
import torch

from client.home.device import Device
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.cache import FeatureCache
from shared_models.config import FeatureConfig
from shared_models.features import Features
from shared_models.speakers.sources.mel_style import MelStyleEncoder

WINDOW = 8  # consecutive numbers
_FORMS: dict[str, str] = {"raw": "<f4", "half": "<f2", "double": "<f8"}


@dataclass
class Secrets:
    """What was collected, by kind and form: ``("mel", "half")`` to windows ``(n, bytes)``."""

    windows: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)
    samples: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """An excerpt of each, for a leaky client to send."""

    def add_numbers(self, kind: str, numbers: np.ndarray, *, stride: int = 1) -> None:
        """Windows of 8 consecutive numbers in single, half and double precision."""
        for form, dtype in _FORMS.items():
            self._add(kind, form, numbers.astype(dtype), stride, distinct=6)

    def add_codes(
        self, kind: str, codes: np.ndarray, forms: Iterable[str], *, distinct: int = 4, window: int = WINDOW
    ) -> None:
        """Windows of 8 (or ``window``) consecutive integers, in each of the given types."""
        for form in forms:
            self._add(kind, form, codes.astype(form), 1, distinct, window)

    def add_name(self, kind: str, name: str) -> None:
        """An identifier as a whole."""
        found = np.frombuffer(name.encode(), dtype=np.uint8)[None]
        self.windows.setdefault((kind, f"utf-8 {len(name)}"), []).append(found)
        self.samples.setdefault((kind, "utf-8"), name.encode())

    def found_in(self, sent: bytes) -> set[tuple[str, str]]:
        """Kind and form of all that occurs in ``sent``, at any byte."""
        keys = _keys_at_every_byte(sent)
        ordered = np.unique(keys)
        return {
            name
            for name, parts in self.windows.items()
            if _occurs(np.concatenate(parts), sent, keys, ordered)
        }

    def _add(
        self, kind: str, form: str, numbers: np.ndarray, stride: int, distinct: int, window: int = WINDOW
    ) -> None:
        flat = np.ascontiguousarray(numbers).ravel()
        if len(flat) < window:
            return
        rows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(flat, window)[::stride])
        ordered = np.sort(rows, axis=1)
        # Silence, padding and zeros are in every file: they tell nothing.
        telling = np.flatnonzero((ordered[:, 1:] != ordered[:, :-1]).sum(1) + 1 >= distinct)
        if len(telling):
            self.windows.setdefault((kind, form), []).append(rows[telling].view(np.uint8))
            start = int(telling[len(telling) // 2]) * stride
            self.samples.setdefault((kind, form), flat[start : start + 2 * window].tobytes())


def features_on(device: Device, config: FeatureConfig) -> list[Features]:
    """The features of a device's recordings."""
    return [FeatureCache(device.feature_cache).get(recording, config) for recording in device.recordings]


def collect(secrets: Secrets, device: Device, config: FeatureConfig) -> None:
    """Add the recordings of a device and what follows from them."""
    secrets.add_name("speaker", device.speaker)
    for recording in device.recordings:
        secrets.add_name("utterance", recording.utterance_id)
        characters = np.frombuffer(recording.text.encode(), dtype=np.uint8)
        secrets.add_codes("text", characters, ["u1", "<u2"])
        audio = soundfile.read(recording.audio, dtype="int16")[0]
        secrets.add_codes("audio", audio, ["<i2"], distinct=6)
        secrets.add_numbers("audio", audio / np.float32(32768), stride=4)
        features = FeatureCache(device.feature_cache).get(recording, config)
        secrets.add_codes("phonemes", features.phonemes.numpy(), ["u1", "<i2", "<i4", "<i8"])
        secrets.add_numbers("mel", features.mel.numpy())
        secrets.add_numbers("mel", features.mel.numpy().T)
        secrets.add_numbers("pitch", features.log_f0.numpy())
        secrets.add_numbers("energy", features.energy.numpy())


@torch.no_grad()
def add_embeddings(secrets: Secrets, model: VoicePartition, utterances: Iterable[Features]) -> None:
    """Add what the reference encoder hears in each recording, with the weights that the model has now."""
    model.model.eval()
    style = cast(MelStyleEncoder, model.model.sources["mel_style"])
    for features in utterances:
        heard = style.style(features.mel[None], torch.tensor([len(features.mel)]))
        secrets.add_numbers("embedding", heard.numpy())


def add_personal(
    secrets: Secrets, before: dict[str, torch.Tensor] | None, after: dict[str, torch.Tensor]
) -> None:
    """Add a device's personal weights after a round, and by how much the round moved them."""
    for name, tensor in after.items():
        secrets.add_numbers("personal", tensor.numpy())
        delta = tensor - before[name] if before is not None else tensor
        secrets.add_numbers("delta", delta.numpy())
        secrets.add_numbers("delta", -delta.numpy())


def _keys_at_every_byte(sent: bytes) -> np.ndarray:
    padded = np.frombuffer(sent + bytes(16), dtype=np.uint8)
    keys = np.lib.stride_tricks.sliding_window_view(padded, 8)[: len(sent)]
    return np.ascontiguousarray(keys).view("<u8").ravel()


def _occurs(windows: np.ndarray, sent: bytes, keys: np.ndarray, ordered: np.ndarray) -> bool:
    if windows.shape[1] < 8:
        return any(row.tobytes() in sent for row in windows)
    starts = np.ascontiguousarray(windows[:, :8]).view("<u8").ravel()
    # A window that begins with zeros would make a candidate of every zero that is sent; its neighbours do not.
    windows, starts = windows[starts != 0], starts[starts != 0]
    places = np.searchsorted(ordered, starts).clip(max=len(ordered) - 1)
    begun = ordered[places] == starts
    if not begun.any():
        return False
    candidates = np.flatnonzero(np.isin(keys, np.unique(starts[begun])))
    known = {row.tobytes() for row in windows[begun]}
    return any(sent[at : at + windows.shape[1]] in known for at in candidates.tolist())
