"""What the clones of one recipe say of one unseen speaker, heard and stored.

Material, the people's own recordings and their copies are those of the cloning benchmark. Here clips are compared with
the recordings of the same sentences too, and each is spoken after several numbers of adaptation steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.cloning import adapt, zero_shot
from shared_models.accelerator import Accelerator, repeat_on
from shared_models.audio.cache import FeatureCache
from shared_models.audio.similarity import SpeakerVerifier, load_d_vector
from shared_models.config import Recipe
from shared_models.errors import MissingExtraError
from shared_models.file_names import file_name_of
from shared_models.files import write_atomically
from shared_models.text.phonemes import encode, phonemize
from shared_models.vocoders import build_vocoder
from simulations.benchmarks.cloning_material import Person
from simulations.benchmarks.cloning_work import (
    ZERO_SHOT,
    Figures,
    Piece,
    Recordings,
    Setting,
    Ways,
    open_base,
    vocoder_digest,
    voice_of,
)
from simulations.evaluation import unseen_speakers as unseen
from simulations.evaluation.campplus import load_campplus
from simulations.evaluation.unseen_speakers import Clip

_COMPARED = ("mcd", "f0", "wer")
MEASURES = {"mcd": "mcd", "f0": "f0_rmse_cents", "wer": "wer"}
"""Our names of what is measured of clips beside likeness, and those of the evaluation."""


def after(steps: int) -> str:
    """The name of the way a clone speaks after so many adaptation steps."""
    return f"{steps} steps"


@dataclass(frozen=True, slots=True)
class Cloner:
    """A trained recipe that clones people and speaks as they do."""

    name: str
    path: Path | None
    """Where its shared weights are; None for the packaged base."""
    base: str
    """Hash of those."""
    recipe: Recipe
    steps: tuple[int, ...]
    """Adaptation steps after each of which it speaks; nothing is adapted without any."""
    vocoder: str
    kept = True
    marked = True

    @property
    def content(self) -> list[Any]:
        """Weights and settings."""
        settings = self.recipe.model_dump(
            mode="json", include={"features", "speaker", "client", "cloning", "federation", "seed"}
        )
        return [self.base, settings, vocoder_digest(self.vocoder), list(self.steps)]

    def clips(self, person: Person, setting: Setting) -> Ways:
        """The person's texts in each way."""
        return self.timed(person, setting)[0]

    def timed(self, person: Person, setting: Setting) -> tuple[Ways, dict[str, float]]:
        """The same, and the seconds that making each voice took."""
        device = Accelerator.resolve(setting.device).device
        repeat_on(device)
        base = open_base(self.path).to(device)
        model = base.adapted(base.recipe.for_cloning().speaker.adaptation)
        vocoder = build_vocoder(self.vocoder, device)
        cache = FeatureCache(setting.cache)
        support = [cache.get(u, base.recipe.features) for u in person.support]
        queries = [(u.text, encode(phonemize(u.text, u.language))) for u in person.query]
        ways: Ways = {}
        seconds: dict[str, float] = {}
        for number in (0, *self.steps):
            began = time.perf_counter()
            if number == 0:
                voice = zero_shot(model.model, support)
            else:
                voice = adapt(model.model, support, model.recipe.override({"cloning.steps": number}))
            way = after(number) if number else ZERO_SHOT
            seconds[way] = time.perf_counter() - began
            ways[way] = unseen.speak(model.model, voice, queries, vocoder)
        return ways, seconds


def judges() -> list[SpeakerVerifier]:
    """GE2E, and CAM++ where its weights are installed. Raises :class:`MissingExtraError` without the first."""
    found: list[SpeakerVerifier] = [load_d_vector()]
    try:
        found.append(load_campplus())
    except MissingExtraError:
        return found
    return found


def judge(piece: Piece) -> Figures:
    """What the clips of one piece are like, by way; stored, and not computed again.

    Raises :class:`MissingExtraError` for a judge that is not installed.
    """
    verifiers = judges()
    names = [verifier.name for verifier in verifiers]
    path = piece.folder / f"{file_name_of(piece.person.name)}.json"
    if path.exists():
        stored: Figures = json.loads(path.read_text())
        if (stored["digest"], stored["judges"]) == (piece.digest, names):
            return stored
    maker, person, setting = piece.maker, piece.person, piece.setting
    seconds: dict[str, float] = {}
    if isinstance(maker, Cloner):
        ways, seconds = maker.timed(person, setting)
    else:
        ways = maker.clips(person, setting)
    real = unseen.real_clips(person.query, setting.recipe, setting.cache)
    figures: Figures = {
        "digest": piece.digest,
        "judges": names,
        "ways": {way: _heard(clips, real, setting.recipe, verifiers) for way, clips in ways.items()},
        "seconds": seconds,
    }
    if isinstance(maker, Recordings):
        figures["voice"] = voice_of(person, setting, verifiers)
    if maker.kept:
        unseen.save_clips(ways, piece.folder / "audio", person.name, tuple(ways) if maker.marked else ())
    write_atomically(path, json.dumps(figures))
    return figures


def _heard(
    clips: Sequence[Clip], real: Sequence[Clip], recipe: Recipe, verifiers: Sequence[SpeakerVerifier]
) -> Figures:
    """Embeddings by verifier, and distance to the recordings of the same sentences."""
    compared = unseen.measure(clips, real, {}, "", recipe.override({"evaluation.metrics": _COMPARED}))
    return {
        "embeddings": {
            verifier.name: [None if e is None else e.tolist() for e in unseen.embeddings(clips, verifier)]
            for verifier in verifiers
        },
        **{name: compared[key] for name, key in MEASURES.items()},
    }
