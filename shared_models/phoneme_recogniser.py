"""A judge of what a mel says: the phoneme of every frame. It keeps a clone's words while its voice is adapted.

Few recordings say few words, and steps towards them alone wear down what training had made clear. So a clone also
speaks other texts, of which nobody has a recording, and a frozen recogniser reads them: the cross-entropy of the
phonemes that were to be said, as recognisers judge synthesis in training (arXiv 1909.03965, "text" loss), but frame by
frame, since a text's durations are known where it is spoken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from shared_models.audio.normalisation import normalise_mel
from shared_models.errors import CheckpointError
from shared_models.partition import Owner
from shared_models.tensor_file import under

LAYERS = 4
KERNEL = 5
"""Frames. Four layers of it hear 17 frames, 0.2 s."""
LONGEST_TEXT = 80
"""Phonemes. What clones say to be read is short, so that much of it is heard in a window."""
UNTOLD = -100
"""The phoneme of a frame that is not judged."""


class PhonemeRecogniser(nn.Module):
    """Convolutions over frames. It hears no recording while a voice is cloned, and is part of no voice.

    What a microphone, a room or a speaker adds to every frame alike is taken off first.
    """

    belongs_to = Owner.PERSONAL
    texts: Tensor
    """``(N, L)`` int64 phonemes, padded with 0: what clones say to be read."""

    def __init__(self, vocabulary: int, channels: int, n_mels: int, texts: Tensor) -> None:
        super().__init__()
        self.n_mels = n_mels
        widths = [n_mels, *[channels] * LAYERS]
        self.layers = nn.ModuleList(
            nn.Conv1d(entering, leaving, KERNEL, padding=KERNEL // 2)
            for entering, leaving in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(LAYERS))
        self.phonemes = nn.Linear(channels, vocabulary)
        self.register_buffer("texts", texts)

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Logits ``(B, W, vocabulary)`` of natural-log ``mel (B, W, n_mels)`` where ``mask (B, W)``."""
        there = mask[..., None].to(mel.dtype)
        heard = normalise_mel(mel)
        mean = (heard * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)
        x = (heard - mean) * there
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            y = F.relu(norm(layer(x.transpose(1, 2)).transpose(1, 2)))
            x = (y if number == 0 else x + y) * there
        logits: Tensor = self.phonemes(x)
        return logits

    def loss(self, mel: Tensor, mask: Tensor, said: Tensor) -> Tensor:
        """Mean cross-entropy ``()`` of what is ``said (B, W)`` over the frames of ``mel`` where ``mask (B, W)``."""
        logits = self(mel, mask).flatten(0, 1)
        return F.cross_entropy(logits, said.masked_fill(~mask, UNTOLD).flatten(), ignore_index=UNTOLD)

    def drawn_texts(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``count`` of the texts at random: phonemes ``(count, L)``, padded with 0, and their numbers ``(count,)``."""
        rows = torch.randint(len(self.texts), (count,), generator=generator).to(self.texts.device)
        texts = self.texts[rows]
        return texts, (texts > 0).sum(1)


def padded_texts(texts: Sequence[Tensor]) -> Tensor:
    """Phonemes ``(L,)`` of several texts as one ``(N, L)``."""
    return pad_sequence(list(texts), batch_first=True)


def recogniser_in(tensors: Mapping[str, Tensor], prefix: str) -> PhonemeRecogniser | None:
    """The one among a file's ``tensors``, under ``prefix``; None if there is none.

    Raises :class:`CheckpointError` if it is damaged.
    """
    state = under(tensors, prefix)
    if not state:
        return None
    try:
        return _recogniser_of(state)
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"the phoneme recogniser in the checkpoint is not one of FedVoice's ({str(error).splitlines()[0]})"
        ) from None


def _recogniser_of(state: Mapping[str, Tensor]) -> PhonemeRecogniser:
    (vocabulary, channels), n_mels = state["phonemes.weight"].shape, state["layers.0.weight"].shape[1]
    texts = state["texts"].long()
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise ValueError("it holds NaN or infinite numbers")
    if (
        texts.ndim != 2
        or not len(texts)
        or texts.shape[1] > LONGEST_TEXT
        or not bool(((texts >= 0) & (texts < vocabulary)).all())
    ):
        raise ValueError("its texts are no phonemes, or too long")
    if not bool((texts[:, 0] > 0).all()):
        raise ValueError("one of its texts is empty")
    found = PhonemeRecogniser(vocabulary, channels, n_mels, texts)
    weights = {name: value.float() for name, value in state.items() if name != "texts"}
    found.load_state_dict(weights | {"texts": texts})
    return found.eval().requires_grad_(False)
