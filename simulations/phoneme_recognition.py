"""Training a base's phoneme recogniser on a public corpus; it can be killed and resumed at any instant.

::

    OUTPUT/checkpoints/        the newest two
           metrics.jsonl       losses
           base.safetensors    the base with its recogniser, once training is over

Every step draws utterances and excerpts by its own number, and a checkpoint holds all that the next step depends on.
Which phoneme sounds when, the corpus's alignments say, or the base's aligner where it brings none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from client.cloning import aligned_once
from shared_models.acoustic.length_regulator import phoneme_of_frame
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.base_model import BaseModel, write_base
from shared_models.errors import CheckpointError, CorpusError, NotFiniteError
from shared_models.features import Features
from shared_models.files import append_line
from shared_models.layers.sequences import valid_steps
from shared_models.optimization import adam, descend, load_moments, moments, told
from shared_models.phoneme_recogniser import LONGEST_TEXT, PhonemeRecogniser, padded_texts
from shared_models.seeds import derive_seed, generator
from shared_models.tensor_file import under
from simulations.step_checkpoints import claim, forget_after, keep, restore

FORMAT = "fedvoice-recogniser-training-1"
_REPORT_EVERY = 50
_KEEP_EVERY = 500
_WARMUP = 0.1
"""Share of the steps in which the learning rate rises, linearly, before it falls."""
_TILT = 0.5
"""Standard deviation of a random slope over the bands, natural log from the middle to either end."""
_FLOORS = (-9.0, -5.0)
"""Levels, natural log, between which a random noise lies that is put under half of the excerpts."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a recogniser is trained."""

    steps: int = 4000
    batch: int = 16
    window: int = 160
    """Frames of an excerpt."""
    channels: int = 128
    texts: int = 64
    """How many it keeps for clones to say."""
    lr: float = 2e-3
    seed: int = 7
    words: float = 0.03
    """``cloning.words`` of the base that is made."""

    def rate(self, step: int) -> float:
        """The learning rate of ``step``, from 1 on."""
        done = step / self.steps
        return self.lr * min(done / _WARMUP, (1 - done) / (1 - _WARMUP) + 1 / self.steps)


class Speech:
    """Speakers' utterances with durations: their own, or the base's aligner's, which are remembered."""

    def __init__(self, base: BaseModel, speakers: Mapping[str, Sequence[Features]]) -> None:
        if base.model.model.aligner is None and any(
            own[index].durations is None for own in speakers.values() for index in range(len(own))
        ):
            raise CorpusError(
                "the base has no aligner, so a corpus for its recogniser must bring alignments: see `fedvoice corpus`"
            )
        self._model: VoicePartition = base.model
        self._speakers = list(speakers.values())
        self._aligned: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        return len(self._speakers)

    def utterances(self, speaker: int) -> int:
        """How many there are of a speaker."""
        return len(self._speakers[speaker])

    def sizes(self) -> list[int]:
        """How many utterances there are of each speaker."""
        return [len(own) for own in self._speakers]

    def utterance(self, speaker: int, index: int) -> Features:
        """One, with durations."""
        found: Features = self._speakers[speaker][index]
        if found.durations is not None:
            return found
        if (speaker, index) not in self._aligned:
            (aligned,) = aligned_once(self._model, [found])
            assert aligned.durations is not None
            self._aligned[speaker, index] = aligned.durations
        return replace(found, durations=self._aligned[speaker, index])

    def texts(self, count: int) -> Tensor:
        """Phonemes ``(count, L)`` of different short texts, evenly spread over the speakers; fewer if there are."""
        short: dict[tuple[int, ...], None] = {}
        for speaker, own in enumerate(self._speakers):
            for index in range(min(len(own), -(-2 * count // len(self._speakers)))):
                phonemes = self._speakers[speaker][index].phonemes
                if len(phonemes) <= LONGEST_TEXT:
                    short.setdefault(tuple(phonemes.tolist()))
        if not short:
            raise CorpusError(
                f"no utterance of the corpus has at most {LONGEST_TEXT} phonemes: clones are to read short texts"
            )
        chosen = list(short)[:: max(1, len(short) // count)][:count]
        return padded_texts([torch.tensor(text) for text in chosen])


class RecogniserTrainer:
    """A recogniser and its optimizer: all that a step changes."""

    def __init__(self, base: BaseModel, texts: Tensor, settings: Settings) -> None:
        dimensions = base.model.model.dimensions
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(settings.seed, "phoneme recogniser"))
            self.recogniser = PhonemeRecogniser(
                dimensions.vocabulary, settings.channels, dimensions.n_mels, texts
            )
        self.settings = settings
        self.trained = list(self.recogniser.parameters())
        self.optimizer = adam(self.trained, settings.lr)

    def step(self, number: int, speech: Speech) -> Tensor:
        """Step ``number``; the loss ``()`` before it."""
        rng = generator(self.settings.seed, "recogniser batch", number)
        mel, mask, said = draw(speech, self.settings, rng)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(number)
        return descend(self.recogniser.loss(mel, mask, said), self.trained, self.optimizer, 1.0)

    def state(self) -> dict[str, Tensor]:
        """Everything, by name."""
        parts = {"recogniser": self.recogniser.state_dict(), "moments": moments(self.optimizer)}
        return {f"{part}.{name}": value for part, held in parts.items() for name, value in held.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put :meth:`state` back. Raises :class:`CheckpointError` if it is another training's."""
        try:
            self.recogniser.load_state_dict(under(state, "recogniser."))
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint is of another recogniser ({str(error).splitlines()[0]}): go on with the same base "
                "and corpus, or choose another --output"
            ) from None
        load_moments(self.optimizer, under(state, "moments."))


def train_recogniser(
    base: BaseModel,
    speakers: Mapping[str, Sequence[Features]],
    output: Path,
    settings: Settings,
    on_metrics: Callable[[dict[str, Any]], None] = lambda _: None,
) -> BaseModel:
    """Train, or go on training; the base with its recogniser, which is also at ``output/base.safetensors``.

    Raises :class:`RecipeError` for a base whose clones adapt by the plain steps of an inner loop, :class:`CorpusError`
    for a corpus that cannot be learnt from, :class:`CheckpointError` where ``output`` holds another training, and
    :class:`NotFiniteError` where training diverges.
    """
    recipe = base.recipe.override({"cloning.words": settings.words})
    speech = Speech(base, speakers)
    texts = speech.texts(settings.texts)
    whose = {"base": base.hash, "utterances": speech.sizes(), "texts": texts.tolist()}
    claim(output, whose | asdict(settings))
    trainer = RecogniserTrainer(base, texts, settings)
    done = restore(trainer, output / "checkpoints", FORMAT, "a recogniser's training")
    forget_after(output / "metrics.jsonl", done)
    losses: list[Tensor] = []
    for number in range(done + 1, settings.steps + 1):
        losses.append(trainer.step(number, speech))
        keeping = number == settings.steps or number % _KEEP_EVERY == 0
        if keeping or number % _REPORT_EVERY == 0:
            line = {"step": number, "loss": sum(told(losses)) / len(losses)}
            if not math.isfinite(line["loss"]):
                raise NotFiniteError(f"the loss is not finite at step {number}: lower --lr")
            append_line(output / "metrics.jsonl", json.dumps(line), durable=keeping)
            on_metrics(line)
            losses = []
        if keeping:
            keep(trainer, output / "checkpoints", number, FORMAT)
    recogniser = trainer.recogniser.eval().requires_grad_(False)
    found = replace(base, recipe=recipe, judges=replace(base.judges, recogniser=recogniser))
    write_base(output / "base.safetensors", found)
    return found


def draw(speech: Speech, settings: Settings, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Excerpts of random utterances: mels ``(B, W, n_mels)``, mask ``(B, W)``, and the phoneme of each frame."""
    mels, said = [], []
    for speaker in torch.randint(len(speech), (settings.batch,), generator=rng).tolist():
        index = int(torch.randint(speech.utterances(speaker), (), generator=rng))
        heard = speech.utterance(speaker, index)
        start = int(torch.randint(max(1, len(heard.mel) - settings.window + 1), (), generator=rng))
        mels.append(_changed(heard.mel[start : start + settings.window], rng))
        said.append(phonemes_of_frames(heard)[start : start + settings.window])
    lengths = torch.tensor([len(mel) for mel in mels])
    mel = pad_sequence(mels, batch_first=True)
    return mel, valid_steps(lengths, mel.shape[1]), pad_sequence(said, batch_first=True)


def phonemes_of_frames(heard: Features) -> Tensor:
    """``(T,)`` int64: the phoneme of each frame of an utterance with durations."""
    assert heard.durations is not None
    frames = torch.arange(len(heard.mel))[None]
    return heard.phonemes[phoneme_of_frame(heard.durations[None], frames)[0]]


def share_read(
    recogniser: PhonemeRecogniser,
    base: BaseModel,
    speakers: Mapping[str, Sequence[Features]],
    on_speaker: Callable[[int, int], None] = lambda _done, _total: None,
) -> float:
    """The share of the frames of all utterances whose phoneme is read right."""
    speech, right, frames = Speech(base, speakers), 0, 0
    for speaker in range(len(speech)):
        for index in range(speech.utterances(speaker)):
            heard = speech.utterance(speaker, index)
            with torch.no_grad():
                read = recogniser(heard.mel[None], torch.ones(1, len(heard.mel), dtype=torch.bool))
            right += int((read[0].argmax(1) == phonemes_of_frames(heard)).sum())
            frames += len(heard.mel)
        on_speaker(speaker + 1, len(speech))
    return right / frames


def _changed(mel: Tensor, rng: torch.Generator) -> Tensor:
    """As another microphone and another room might have it."""
    tilt = torch.linspace(-1, 1, mel.shape[1]) * _TILT * torch.randn((), generator=rng)
    changed = mel + tilt
    if torch.rand((), generator=rng) < 0.5:
        low, high = _FLOORS
        level = low + (high - low) * torch.rand((), generator=rng)
        changed = torch.logaddexp(changed, level + 0.3 * torch.randn(mel.shape, generator=rng))
    return changed
