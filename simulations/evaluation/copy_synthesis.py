"""What a vocoder loses: recordings of unseen speakers, from their own mel back to sound.

No acoustic model is involved, so whatever is worse than the recording is the vocoder's doing. Copies are
compared with the recording that they are copies of: spectrum (MCD), voice (cosine of the speaker
verifier), and what needs no original, the recogniser's errors and predicted opinions. The recording itself,
judged in the same way, is the anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared_models.audio.alignment import read_alignment
from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import HOP, SAMPLE_RATE, log_mel
from shared_models.audio.reading import Wave
from shared_models.audio.similarity import SpeakerVerifier, load_d_vector, similarity
from shared_models.config import FeatureConfig
from shared_models.errors import AudioError, CorpusError
from shared_models.utterance import Utterance
from shared_models.vocoders import Vocoder
from simulations.evaluation.bootstrap import Estimate, bootstrap_mean
from simulations.evaluation.cepstral_distortion import cepstral_distortion
from simulations.evaluation.intelligibility import compare, listen
from simulations.evaluation.naturalness import Listener, load_listeners
from simulations.evaluation.recognition import Recogniser, load_moonshine

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Original:
    """A recording, trimmed and levelled as models see it, of a whole number of frames."""

    utterance_id: str
    text: str
    wave: Wave
    mel: Tensor
    """``(T, N_MELS)`` of the wave of T * HOP samples."""


Copy = Callable[[Original], Wave]
"""From a recording to its copy ``(samples,)`` at 22,050 Hz."""
Originals = Mapping[str, Sequence[Original]]
"""By speaker."""
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Judges:
    """All that listens to a copy."""

    recogniser: Recogniser
    verifier: SpeakerVerifier
    listeners: Sequence[Listener]


def load_judges() -> Judges:
    """The project's own choice; raises :class:`MissingExtraError` for the first that is not installed."""
    return Judges(load_moonshine(), load_d_vector(), load_listeners())


def load_originals(
    speakers: Mapping[str, Sequence[Utterance]], config: FeatureConfig, progress: Progress | None = None
) -> dict[str, list[Original]]:
    """The recordings of every speaker; unusable ones are left out. Raises :class:`CorpusError` without any."""
    wanted = [(speaker, utterance) for speaker, utterances in speakers.items() for utterance in utterances]
    found: dict[str, list[Original]] = {}
    for number, (speaker, utterance) in enumerate(wanted, start=1):
        try:
            found.setdefault(speaker, []).append(_load(utterance, config))
        except AudioError:
            continue
        if progress is not None:
            progress(number, len(wanted))
    usable = {speaker: originals for speaker, originals in found.items() if originals}
    if not usable:
        raise CorpusError("none of the recordings can be used: see `fedvoice corpus inspect`")
    return usable


def itself(original: Original) -> Wave:
    """The copy that loses nothing: the anchor."""
    return original.wave


def through(vocoder: Vocoder) -> Copy:
    """The copy that a vocoder makes of the recording's mel, limited to full scale as a file would be."""

    @torch.no_grad()
    def copy(original: Original) -> Wave:
        wave: Wave = vocoder(original.mel).clamp(-1.0, 1.0).numpy()
        return wave

    return copy


def judge_copies(
    copy: Copy,
    originals: Originals,
    judges: Judges,
    *,
    on_copy: Callable[[Original, Wave], None] | None = None,
    progress: Progress | None = None,
) -> dict[str, Figures]:
    """Every speaker's ``mcd`` (dB), ``wer``, ``cer``, ``similarity`` and one figure by each listener's name.

    Means over the speaker's recordings; error rates are pooled. ``on_copy`` is given each copy, to keep it.
    """
    done, total = 0, sum(len(recordings) for recordings in originals.values())
    found = {}
    for speaker, recordings in originals.items():
        clips, heard = [], []
        for original in recordings:
            wave = copy(original)
            clips.append(_figures(wave, original, judges))
            heard.append(listen(judges.recogniser, wave, SAMPLE_RATE))
            if on_copy is not None:
                on_copy(original, wave)
            if progress is not None:
                progress(done := done + 1, total)
        rates = compare([original.text for original in recordings], heard)
        means = {name: float(np.mean([clip[name] for clip in clips])) for name in clips[0]}
        found[speaker] = means | {"wer": rates.wer, "cer": rates.cer}
    return found


def summarise(figures: Mapping[str, Figures]) -> dict[str, Estimate]:
    """Mean and 95 % bootstrap interval over speakers of every figure."""
    names = next(iter(figures.values()))
    return {name: bootstrap_mean([speaker[name] for speaker in figures.values()]) for name in names}


def gain(figures: Mapping[str, Figures], baseline: Mapping[str, Figures]) -> dict[str, Estimate]:
    """As :func:`summarise`, of the differences to a baseline speaker by speaker.

    Sharper than two intervals beside each other: what makes one speaker harder than another cancels.
    """
    differences = {
        speaker: {name: own[name] - baseline[speaker][name] for name in own}
        for speaker, own in figures.items()
    }
    return summarise(differences)


def _load(utterance: Utterance, config: FeatureConfig) -> Original:
    phones = read_alignment(utterance.alignment) if utterance.alignment is not None else None
    wave = load_speech(utterance.audio, config, phones).wave
    wave = wave[: len(wave) // HOP * HOP]
    return Original(utterance.utterance_id, utterance.text, wave, log_mel(torch.from_numpy(wave)))


def _figures(wave: Wave, original: Original, judges: Judges) -> Figures:
    try:
        likeness = similarity(
            judges.verifier.embed(wave, SAMPLE_RATE), judges.verifier.embed(original.wave, SAMPLE_RATE)
        )
    except AudioError:
        likeness = 0.0  # a copy without sound has nobody's voice
    mel = log_mel(torch.from_numpy(np.ascontiguousarray(wave)))
    figures = {"mcd": cepstral_distortion(mel, original.mel), "similarity": likeness}
    return figures | {judge.name: judge.score(wave, SAMPLE_RATE) for judge in judges.listeners}
