"""From a person's recordings to one speaker embedding: what ``fedvoice embed`` does, for programs too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from client.embedding_release import EmbeddingTerms, mean_embedding, release
from client.home.ledger import Ledger, Unit
from client.home.owner_ledger import open_owner_ledger
from client.home.recordings import TABLE_NAME, read_recordings
from client.speaker_embedding import SpeakerEmbedding
from shared_models.accelerator import Accelerator, repeat_on
from shared_models.audio.decoding import AUDIO_SUFFIXES
from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import SAMPLE_RATE, log_mel
from shared_models.audio.reading import Wave
from shared_models.audio.similarity import verifier_weights
from shared_models.base_model import load_base, packaged_base
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, CheckpointError, CorpusError, PrivacyError, RecipeError
from shared_models.partition import content_hash
from shared_models.speakers.encoders import ENCODERS
from shared_models.speakers.encoders.encoder import embed_recording
from shared_models.speakers.encoders.encoder_file import load_encoder

MEL_STYLE = "mel_style"
KINDS = (*ENCODERS, MEL_STYLE)


@dataclass(frozen=True, slots=True)
class Hearing:
    """An encoder, ready to hear one recording at a time."""

    kind: str
    hash: str
    norm: float
    """The norm of an embedding, or what it is about: to clip at it loses next to nothing."""
    hear: Callable[[Wave], Tensor]
    """``(samples,)`` at 22,050 Hz to ``(E,)`` on the processor."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """An embedding, and what its owner alone may know of how it came about."""

    embedding: SpeakerEmbedding
    utterances: int
    left_out: Sequence[str]
    ledger: Ledger | None
    """The owner's, with the release in it; None if nothing was released."""


def embed_speaker(
    recordings: Path,
    kind: str,
    *,
    weights: Path | None = None,
    base: Path | None = None,
    epsilon: float | None = None,
    delta: float = 1e-5,
    unit: Unit = "utterance",
    clip: float | None = None,
    budget: float | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """The embedding of the one speaker of a folder, a table or a file of recordings; no text is needed.

    With ``epsilon`` it is released: clipped, averaged and noised, its cost in the owner's ledger first. Without, it is
    the mean as it is. ``weights`` are the encoder's; ``base`` is the run or model whose ``mel_style`` is meant.

    Raises :class:`CorpusError`, :class:`CheckpointError`, :class:`RecipeError`, :class:`BudgetError` and
    :class:`PrivacyError`.
    """
    if epsilon is None and budget is not None:
        raise PrivacyError("--budget is for a release: give --epsilon with it")
    where = Accelerator.resolve(device).device
    repeat_on(where)
    hearing = open_hearing(kind, weights, base, where)
    norm = clip or hearing.norm
    terms = None if epsilon is None else EmbeddingTerms(epsilon, delta, unit, norm)
    vectors, left_out = _heard(audio_files(recordings), hearing, recordings, progress)
    if terms is None:
        mean = mean_embedding(vectors, norm).float()
        return Embedded(SpeakerEmbedding(mean, kind, hearing.hash), len(vectors), left_out, None)
    ledger = open_owner_ledger(budget or terms.epsilon, terms.delta)
    released = release(_with_the_silent(vectors, len(left_out)), terms, ledger)
    return Embedded(
        SpeakerEmbedding(released, kind, hearing.hash, terms.guarantee), len(vectors), left_out, ledger
    )


def _with_the_silent(vectors: Tensor, silent: int) -> Tensor:
    """``vectors (n, E)`` and a 0 for each recording that says nothing.

    An utterance that was emptied says nothing either. So neighbours have as many rows, and noise of one size. The
    embedding's direction is as precise as without them: signal and noise shrink alike.
    """
    return torch.cat([vectors, vectors.new_zeros(silent, vectors.shape[1])])


def open_hearing(kind: str, weights: Path | None, base: Path | None, device: torch.device) -> Hearing:
    """The encoder of that kind. Raises :class:`RecipeError` where its weights are not named, or there is none."""
    if kind not in KINDS:
        raise RecipeError(f"there is no encoder '{kind}': choose among {', '.join(KINDS)}")
    if kind == MEL_STYLE:
        if weights is not None:
            raise RecipeError("mel_style is part of a base model: name that with --base, and leave --weights")
        return _style(base, device)
    if base is not None:
        raise RecipeError(f"--base is for mel_style: name the weights of '{kind}' with --weights")
    path = weights or (verifier_weights() if kind == "d_vector" else None)
    if path is None:
        raise RecipeError(
            f"--encoder {kind} needs weights: name a file of `fedvoice speaker-encoder train` or a public one with "
            "--weights"
        )
    encoder = load_encoder(path, kind)
    digest = content_hash(encoder.state_dict())
    there = encoder.to(device)
    return Hearing(kind, digest, 1.0, lambda wave: embed_recording(there, wave, SAMPLE_RATE))


def audio_files(recordings: Path) -> list[Path]:
    """The recordings at a path: one file, those of a table, or all of a folder. Raises :class:`CorpusError`."""
    if not recordings.exists():
        raise CorpusError(f"there are no recordings at {recordings}; check the path")
    if recordings.is_file() and recordings.suffix.lower() in AUDIO_SUFFIXES:
        return [recordings]
    if recordings.is_file() or (recordings / TABLE_NAME).is_file():
        return [utterance.audio for utterance in read_recordings(recordings)]
    found = sorted(p for p in recordings.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    if not found:
        raise CorpusError(f"{recordings} holds no audio ({', '.join(AUDIO_SUFFIXES)}); check the path")
    return found


def _heard(
    files: Sequence[Path],
    hearing: Hearing,
    recordings: Path,
    progress: Callable[[int, int], None] | None,
) -> tuple[Tensor, list[str]]:
    """Embeddings ``(n, E)``, each of one recording alone, and why others were left out."""
    vectors, left_out = [], []
    for number, file in enumerate(files, start=1):
        try:
            vectors.append(hearing.hear(load_speech(file, FeatureConfig()).wave))
        except AudioError as error:
            said = str(error)
            left_out.append(said if str(file) in said else f"{file}: {said}")
        if progress is not None:
            progress(number, len(files))
    if not vectors:
        raise CorpusError(f"{recordings} has no usable recording (first problem: {left_out[0]})")
    return torch.stack(vectors), left_out


def _style(base: Path | None, device: torch.device) -> Hearing:
    loaded = packaged_base() if base is None else load_base(base)
    model = loaded.model.model.eval().to(device)
    if MEL_STYLE not in model.sources:
        raise CheckpointError(
            f"the base {base or 'that ships'} has no mel_style among its speaker.sources: choose another encoder"
        )
    source = model.get_submodule(MEL_STYLE)

    @torch.no_grad()
    def hear(wave: Wave) -> Tensor:
        mel = log_mel(torch.from_numpy(wave))[None].to(device)
        style: Tensor = source.style(mel, torch.tensor([mel.shape[1]], device=device))[0].cpu()  # type: ignore[operator]
        return style

    # Its last layer is a layer norm, so that the norm is about that of E numbers of variance 1.
    return Hearing(MEL_STYLE, loaded.hash, float(model.dimensions.embedding**0.5), hear)
