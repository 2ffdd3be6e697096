"""From a person's recordings to a voice that speaks: what ``fedvoice clone`` does, for programs too.

::

    me = clone_voice("my-recordings", epsilon=8)
    me.save("me.voice.safetensors")
    me.speaker().write("Good morning.", "morning.wav")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.before_and_after import compare_voices
from client.cloning import ClonedVoice
from client.cloning import clone as clone_from_features
from client.embedding_release import require_paid
from client.enrollment import enroll
from client.home.kept_bases import keep_base
from client.home.ledger import Ledger
from client.home.owner_ledger import open_owner_ledger
from client.profile import VoiceProfile, save_profile
from client.speaker import Speaker
from client.speaker_embedding import SpeakerEmbedding, load_embedding
from shared_models.accelerator import Accelerator, repeat_on
from shared_models.base_model import BaseModel, load_base, packaged_base
from shared_models.config import Recipe
from shared_models.errors import CorpusError, PrivacyError
from shared_models.features import Features
from shared_models.pretrained import default_vocoder
from shared_models.speakers.adaptation import NOTHING
from shared_models.vocoders import build_vocoder

DELTA = 1e-3
Stage = Callable[[str], Callable[[int, int], None]]
"""A stage's name to what is told ``(done, total)`` in it."""
_REMEDY = "put a .phones or .TextGrid file beside each recording, or clone on a base that aligns, with --base"


@dataclass(frozen=True, slots=True)
class Clone:
    """A cloned voice, and what its owner may know of how it came about."""

    name: str
    voice: ClonedVoice
    base: BaseModel
    """As it was found."""
    adapted: BaseModel
    """The same for voices of the adaptation that was asked for; mostly the base itself."""
    support: Sequence[Features]
    """The utterances that were used."""
    left_out: Sequence[str]
    """Why others were not, a sentence each."""
    notes: Sequence[str]
    """What was mended in those that were used, and what of their texts is not said, a sentence each."""
    ledger: Ledger
    """The owner's, with this release in it."""
    packaged: bool
    """Whether its base is the one that ships, which need not be kept."""
    trained: bool
    """Whether anything was trained, and not only listened to."""
    notice: str | None = None
    """Why it was not adapted although it was to be; None if it was as asked."""
    embedding: SpeakerEmbedding | None = None
    """A speaker embedding that the profile carries, released before; None for most."""

    @property
    def profile(self) -> VoiceProfile:
        """What may be given away."""
        own = None if self.adapted is self.base else self.adapted.recipe.speaker.adaptation
        return VoiceProfile(
            self.voice.voice, self.base.hash, self.name, self.voice.privacy, self.embedding, own
        )

    @property
    def personal(self) -> dict[str, Any]:
        """What was the voice's own to train: the adaptation, and how many numbers and bytes it has."""
        if not self.trained:
            return {"adaptation": NOTHING, "numbers": 0, "bytes": 0}
        size = self.adapted.model.personal_size
        kind = self.adapted.recipe.speaker.personal
        return {"adaptation": kind, "numbers": size.numbers, "bytes": size.bytes}

    def save(self, path: str | Path) -> None:
        """Write the profile, and keep the base that it speaks with. Raises StorageError."""
        if not self.packaged:
            keep_base(self.base)
        save_profile(Path(path), self.profile)

    def speaker(self, vocoder: str | None = None) -> Speaker:
        """The voice, ready to speak; ``vocoder`` as in :meth:`Speaker.load`."""
        sound = build_vocoder(vocoder or default_vocoder(), self.base.model.device)
        return Speaker(self.adapted.model.model, self.voice.voice, sound)

    def before_and_after(self) -> dict[str, float]:
        """What cloning changed, for its owner's eyes: see :func:`client.before_and_after.compare_voices`."""
        return compare_voices(self.adapted.model, self.support, self.voice.voice)


def clone_voice(
    recordings: str | Path,
    *,
    base: Path | None = None,
    arm: str | None = None,
    name: str | None = None,
    steps: int | None = None,
    zero_shot: bool = False,
    epsilon: float | None = None,
    delta: float = DELTA,
    budget: float | None = None,
    embedding: Path | None = None,
    adaptation: str | None = None,
    device: str = "auto",
    stage: Stage = lambda _: lambda _done, _total: None,
) -> Clone:
    """Clone the one speaker of a folder or CSV, and enter in the owner's ledger what that costs.

    ``base`` is a run folder (of which ``arm`` names the arm), a checkpoint or a published model's folder; the packaged
    one by default. ``steps`` is the recipe's by default; ``zero_shot`` trains nothing. With ``epsilon`` the voice is
    adapted by DP-SGD, and ``budget``, by default the same, bounds everything that was ever cloned privately here.
    ``embedding`` is a file of ``fedvoice embed --epsilon``, for the profile to carry. ``adaptation`` is what trains,
    as ``speaker.personal`` names it; the base recipe's by default. ``device`` is where to compute, as
    :meth:`Accelerator.resolve` takes it.

    Raises :class:`PrivacyError` for wishes that contradict each other, :class:`BudgetError`, :class:`CorpusError` for
    recordings that cannot be cloned from, :class:`RecipeError` for an adaptation that there is not or that this base
    cannot take, :class:`CheckpointError`, and :class:`AcceleratorError`.
    """
    _refuse_contradictions(zero_shot or steps == 0, epsilon, budget)
    carried = None if embedding is None else load_embedding(embedding)
    if carried is not None:
        require_paid(carried, open_owner_ledger(None, delta))
    where = Accelerator.resolve(device).device
    repeat_on(where)
    loaded = (packaged_base() if base is None else load_base(base, arm)).to(where)
    recipe = _as_wished(loaded.recipe, steps, epsilon, delta, adaptation)
    adapted = loaded.adapted(recipe.for_cloning().speaker.adaptation)
    enrolled = enroll(Path(recordings), recipe, stage("listening"))
    support = enrolled.features
    notice = None
    if not zero_shot and not _can_adapt(loaded, support):
        zero_shot, notice = True, _only_listens(epsilon)
    if zero_shot:
        recipe = recipe.override({"cloning.steps": 0, "personal_privacy.enabled": False})
    if recipe.cloning.steps == 0:
        adapted = loaded  # what nobody trains need not be in the profile
    ledger = open_owner_ledger(budget or epsilon, delta)
    voice = clone_from_features(
        adapted.model, support, recipe, ledger, judges=loaded.judges, on_step=stage("adapting")
    )
    return Clone(
        name or Path(recordings).resolve().stem,
        voice,
        loaded,
        adapted,
        support,
        enrolled.left_out,
        enrolled.notes,
        ledger,
        base is None,
        recipe.cloning.steps > 0 and recipe.for_cloning().speaker.personal != NOTHING,
        notice,
        carried,
    )


def _refuse_contradictions(listens: bool, epsilon: float | None, budget: float | None) -> None:
    if epsilon is not None and listens:
        raise PrivacyError(
            "zero-shot cloning listens to the recordings without noise and has no epsilon: leave --epsilon, or adapt "
            "with --steps of 1 or more"
        )
    if budget is not None and epsilon is None:
        raise PrivacyError("--budget is for cloning by DP-SGD: give --epsilon with it")


def _as_wished(
    recipe: Recipe, steps: int | None, epsilon: float | None, delta: float, adaptation: str | None
) -> Recipe:
    changes: dict[str, Any] = {} if steps is None else {"cloning.steps": steps}
    if adaptation is not None:
        chosen = {"adaptation": adaptation, "private_adaptation": adaptation, "layers": None}
        changes |= {f"cloning.{field}": value for field, value in chosen.items()}
    if epsilon is not None:
        changes |= {
            "personal_privacy.enabled": True,
            "personal_privacy.epsilon": epsilon,
            "personal_privacy.noise_multiplier": None,
            "personal_privacy.delta": delta,
        }
    return recipe.override(changes)


def _can_adapt(base: BaseModel, support: Sequence[Features]) -> bool:
    """Adapting needs to know which phoneme sounds when: from the recordings, or from the model's aligner."""
    return base.model.model.aligner is not None or all(heard.durations is not None for heard in support)


def _only_listens(epsilon: float | None) -> str:
    """That the voice is listened to and not adapted; raises :class:`CorpusError` where that would break a promise."""
    if epsilon is not None:
        raise CorpusError(
            f"this base has no aligner, and adapting with an epsilon needs alignments: {_REMEDY}"
        )
    return f"this base has no aligner, so it listens and does not adapt (zero-shot); to adapt, {_REMEDY}"
