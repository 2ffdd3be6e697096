"""One piece of work of the cloning benchmark: one person's recordings, copies or clones, spoken, heard and stored.

What a piece found is kept beside a digest of all that it depends on, so that an interrupted run goes on where it
was, and another base is judged without judging the people again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from client.cloning import adapt, voice_of_nobody, zero_shot
from client.profile import load_profile
from shared_models.accelerator import Accelerator, repeat_on
from shared_models.audio.cache import FeatureCache
from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.similarity import SpeakerVerifier, centroid, load_d_vector
from shared_models.base_model import BaseModel, load_base, packaged_base
from shared_models.config import Recipe
from shared_models.errors import CorpusError
from shared_models.file_names import file_name_of
from shared_models.files import write_atomically
from shared_models.pretrained import VOCODER
from shared_models.speakers.voice import Voice
from shared_models.text.phonemes import encode, phonemize
from shared_models.vocoders import VOCODERS, build_vocoder
from simulations.benchmarks.cloning_material import Person
from simulations.benchmarks.digests import code_digest, file_digest
from simulations.evaluation import unseen_speakers as unseen
from simulations.evaluation.campplus import load_campplus
from simulations.evaluation.delivery import pitch_spread, speech_seconds
from simulations.evaluation.intelligibility import compare, listen
from simulations.evaluation.naturalness import load_distill_mos
from simulations.evaluation.recognition import load_moonshine
from simulations.evaluation.spectrograms import save_spectrograms
from simulations.evaluation.unseen_speakers import Clip

Figures = dict[str, Any]
Ways = dict[str, list[Clip]]
REAL, COPIED = "real", "copied"
BEFORE, ZERO_SHOT, ADAPTED = "before", "zero-shot", "adapted"
ORACLE = "oracle prosody"
"""Adapted, and said with the durations, pitch and energy of the person's own recordings of the texts."""
PACKAGED = "packaged"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all pieces of a run."""

    recipe: Recipe
    """Whose features the people's own recordings are heard with."""
    cache: Path
    folder: Path
    """Where figures and sound go."""
    device: str


class Maker(Protocol):
    """Something that makes clips of a person's texts, one or several ways."""

    @property
    def name(self) -> str:
        """Names its folder."""
        ...

    @property
    def content(self) -> list[Any]:
        """What the clips depend on beside the person, as plain data."""
        ...

    @property
    def kept(self) -> bool:
        """Whether a clip of each way is kept, to listen to and to look at."""
        ...

    @property
    def marked(self) -> bool:
        """Whether FedVoice made the clips, so that what is kept of them carries the mark."""
        ...

    def clips(self, person: Person, setting: Setting) -> Ways:
        """The clips by way."""
        ...


@dataclass(frozen=True, slots=True)
class Recordings:
    """The person's own recordings."""

    name = REAL
    kept = True
    marked = False

    @property
    def content(self) -> list[Any]:
        """Nothing beside the person."""
        return []

    def clips(self, person: Person, setting: Setting) -> Ways:
        """Trimmed and levelled as models see them."""
        return {REAL: unseen.real_clips(person.query, setting.recipe, setting.cache)}


@dataclass(frozen=True, slots=True)
class Copies:
    """The recordings through mel and vocoder: the best that any acoustic model could do with it."""

    name: str
    vocoder: str
    kept = False
    marked = False

    @property
    def content(self) -> list[Any]:
        """The vocoder's weights."""
        return [vocoder_digest(self.vocoder)]

    def clips(self, person: Person, setting: Setting) -> Ways:
        """Copies of the same recordings."""
        device = Accelerator.resolve(setting.device).device
        real = unseen.real_clips(person.query, setting.recipe, setting.cache)
        return {self.name: unseen.copies(real, build_vocoder(self.vocoder, device))}


@dataclass(frozen=True, slots=True)
class Clones:
    """One base: its packaged voices, and the person's voice cloned on it."""

    name: str
    path: Path | None
    """None for the packaged base."""
    base: str
    """Hash of its weights."""
    recipe: Recipe
    vocoder: str
    voices: tuple[tuple[str, Path], ...]
    """Names and profiles of voices that speak with it."""
    nobody: bool = False
    """Whether it also speaks as before it has heard anybody."""
    oracle: bool = False
    """Whether the adapted voice also speaks with the recordings' own prosody."""
    kept = True
    marked = True

    @property
    def content(self) -> list[Any]:
        """Weights and settings."""
        settings = self.recipe.model_dump(mode="json", include={"features", "client", "cloning", "seed"})
        profiles = [file_digest(path) for _, path in self.voices]
        return [self.base, settings, vocoder_digest(self.vocoder), profiles, self.nobody, self.oracle]

    def clips(self, person: Person, setting: Setting) -> Ways:
        """The texts in each voice, through the one door as a person hears it, but before the mark."""
        device = Accelerator.resolve(setting.device).device
        repeat_on(device)
        base = open_base(self.path).to(device)
        vocoder = build_vocoder(self.vocoder, device)
        queries = [(u.text, encode(phonemize(u.text, u.language))) for u in person.query]
        # As `fedvoice clone` adapts on this base; the adapted voice has tensors that the base alone does not take.
        adapted = base.adapted(base.recipe.for_cloning().speaker.adaptation)
        voices = self._voices(base, adapted, person, setting)
        found = {
            way: unseen.speak((adapted if way == ADAPTED else base).model, voice, queries, vocoder)
            for way, voice in voices.items()
        }
        if self.oracle:
            recorded = [FeatureCache(setting.cache).get(u, base.recipe.features) for u in person.query]
            found[ORACLE] = unseen.speak_as_recorded(
                adapted.model, voices[ADAPTED], person.query, recorded, vocoder
            )
        return found

    def _voices(
        self, base: BaseModel, adapted: BaseModel, person: Person, setting: Setting
    ) -> dict[str, Voice]:
        cache = FeatureCache(setting.cache)
        support = [cache.get(u, base.recipe.features) for u in person.support]
        if base.model.model.aligner is None and any(heard.durations is None for heard in support):
            raise CorpusError(
                f"the base '{self.name}' has no aligner, so nobody can be adapted on it: put a .phones or .TextGrid "
                f"file beside each recording of {person.corpus}, or name a base that aligns"
            )
        found = {BEFORE: voice_of_nobody(base.model)} if self.nobody else {}
        found |= {name: load_profile(path, base=self.base).voice for name, path in self.voices}
        return found | {
            ZERO_SHOT: zero_shot(base.model, support),
            ADAPTED: adapt(adapted.model, support, adapted.recipe, judges=base.judges),
        }


@dataclass(frozen=True, slots=True)
class Piece:
    """One maker at work for one person."""

    maker: Maker
    person: Person
    setting: Setting

    @property
    def digest(self) -> str:
        """Of all that its figures depend on."""
        content = [
            code_digest(),
            self.maker.content,
            self.person.content,
            self.setting.recipe.features.model_dump(),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where what it found is kept."""
        return self.setting.folder / file_name_of(self.maker.name)


def open_base(path: Path | None) -> BaseModel:
    """The base at ``path``, or the packaged one. Raises :class:`CheckpointError`."""
    return packaged_base() if path is None else load_base(path)


def verifiers() -> tuple[SpeakerVerifier, ...]:
    """Both of them; raises :class:`MissingExtraError`."""
    return load_campplus(), load_d_vector()


def load_everything() -> None:
    """All that hears, before the work begins. Raises :class:`MissingExtraError` for what is not installed."""
    verifiers()
    load_moonshine()
    load_distill_mos()
    compare(["said"], ["said"])


def judge(piece: Piece) -> Figures:
    """What the clips of one piece are like, by way; stored, and not computed again."""
    path = piece.folder / f"{file_name_of(piece.person.name)}.json"
    if path.exists():
        stored: Figures = json.loads(path.read_text())
        if stored["digest"] == piece.digest:
            return stored
    ways = piece.maker.clips(piece.person, piece.setting)
    figures: Figures = {"digest": piece.digest, "ways": {way: hear(clips) for way, clips in ways.items()}}
    if isinstance(piece.maker, Recordings):
        figures["voice"] = voice_of(piece.person, piece.setting)
    if piece.maker.kept:
        _keep(piece, ways)
    write_atomically(path, json.dumps(figures))
    return figures


def voice_of(
    person: Person, setting: Setting, heard_by: Sequence[SpeakerVerifier] | None = None
) -> dict[str, list[float]]:
    """By verifier (all if None), the centroid of the person's other recordings, a unit vector ``(E,)``."""
    heard = unseen.real_clips(person.others, setting.recipe, setting.cache)
    return {
        verifier.name: centroid([e for e in unseen.embeddings(heard, verifier) if e is not None]).tolist()
        for verifier in heard_by or verifiers()
    }


def hear(clips: Sequence[Clip]) -> Figures:
    """All that needs no other clip: embeddings, word error rate (pooled), opinion, seconds of speech, F0 spread."""
    recogniser, listener = load_moonshine(), load_distill_mos()
    words = [listen(recogniser, clip.wave, SAMPLE_RATE) for clip in clips]
    return {
        "embeddings": {
            verifier.name: [None if e is None else e.tolist() for e in unseen.embeddings(clips, verifier)]
            for verifier in verifiers()
        },
        "wer": compare([clip.text for clip in clips], words).wer,
        "distillmos": float(np.mean([listener.score(clip.wave, SAMPLE_RATE) for clip in clips])),
        "seconds": [speech_seconds(clip.wave) for clip in clips],
        "f0_spread": pitch_spread([clip.wave for clip in clips]),
    }


def clip_of(piece: Piece, way: str) -> Path:
    """Where the first clip of a way is kept."""
    return piece.folder / "audio" / f"{file_name_of(piece.person.name)}-{way}.wav"


def spectrograms_of(piece: Piece) -> Path:
    """Where the spectrograms of the first clips are kept."""
    return piece.folder / "spectrograms" / f"{file_name_of(piece.person.name)}.npz"


def vocoder_digest(vocoder: str) -> str:
    """What tells one vocoder from another."""
    file = VOCODER if vocoder == PACKAGED else Path(vocoder)
    return vocoder if vocoder in VOCODERS and vocoder != PACKAGED else file_digest(file)


def _keep(piece: Piece, ways: Ways) -> None:
    marked = tuple(ways) if piece.maker.marked else ()
    unseen.save_clips(ways, piece.folder / "audio", piece.person.name, marked)
    save_spectrograms(spectrograms_of(piece), {way: clips[0].wave for way, clips in ways.items()})
