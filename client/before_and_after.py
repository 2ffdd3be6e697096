"""What cloning changed, for its owner: the voice of nobody and the clone, against the recordings."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import torch

from client.cloning import voice_of_nobody
from client.speaker import Speaker
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.features import Features, collate
from shared_models.losses import acoustic_loss
from shared_models.pretrained import default_vocoder
from shared_models.speakers.voice import Voice
from shared_models.vocoders import build_vocoder


@torch.no_grad()
def compare_voices(model: VoicePartition, recordings: Sequence[Features], clone: Voice) -> dict[str, float]:
    """``mel``, ``pitch`` and, with the verifier installed, ``similarity``, each ``_before`` and ``_after``.

    ``mel`` and ``pitch`` only where alignments are known, from the recordings or by the model's aligner. They
    are the errors of the voice under teacher forcing; similarities are those of the same texts spoken freely, as a
    person hears them but before the mark, to the recordings through the vocoder. The recordings are what was cloned
    from: a figure for the owner, and not a test on unseen sentences.
    """
    model.model.eval()
    voices = {"before": voice_of_nobody(model), "after": clone}
    figures: dict[str, float] = {}
    aligned = model.model.aligner is not None or all(heard.durations is not None for heard in recordings)
    for when, voice in voices.items() if aligned else ():
        errors = [_errors(model, features, voice) for features in recordings]
        for name in ("mel", "pitch"):
            figures[f"{name}_{when}"] = sum(e[name] for e in errors) / len(errors)
    if find_spec("resemblyzer"):
        for when, voice in voices.items():
            figures[f"similarity_{when}"] = _similarity(model, recordings, voice)
    return figures


def _errors(model: VoicePartition, features: Features, voice: Voice) -> dict[str, float]:
    batch = collate([features.to(model.device)], references=None)
    durations = model.model.align(batch).durations if batch.durations is None else batch.durations
    output = model.model.acoustic(batch, durations, voice.to(model.device))
    return acoustic_loss(output, batch).items()


def _similarity(model: VoicePartition, recordings: Sequence[Features], voice: Voice) -> float:
    from shared_models.audio.similarity import centroid, load_d_vector, similarity

    vocoder, verifier = build_vocoder(default_vocoder()), load_d_vector()
    target = centroid([verifier.embed(vocoder(f.mel).numpy(), SAMPLE_RATE) for f in recordings])
    speaker = Speaker(model.model, voice, vocoder)
    spoken = [verifier.embed(speaker.unmarked(f.phonemes).wave, SAMPLE_RATE) for f in recordings]
    return sum(similarity(embedding, target) for embedding in spoken) / len(spoken)
