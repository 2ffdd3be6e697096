"""Training a speaker encoder to tell a corpus's speakers apart; it can be killed and resumed at any instant.

::

    RUN/recipe.json, environment.json
        checkpoints/            the newest two
        metrics.jsonl           losses, and the equal error rate on unseen speakers
        encoder.safetensors     the encoder, once training is over

Every step draws speakers, utterances and excerpts by its own number, and a checkpoint holds all that the next step
depends on. So an interrupted training ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.learning.cached_features import CachedFeatures
from client.learning.kept_features import TRAININGS_ROOM, KeptFeatures, Room
from shared_models.accelerator import CPU, accelerator_of, repeat_on
from shared_models.audio.signals import steps_per_frame
from shared_models.config import AugmentationConfig, Recipe
from shared_models.encoder_config import EncoderConfig
from shared_models.errors import CheckpointError, CollapsedError, CorpusError, NotFiniteError, RecipeError
from shared_models.features import Features
from shared_models.files import append_line
from shared_models.optimization import adam, descend, load_moments, moments, told
from shared_models.plain_json import finite
from shared_models.seeds import derive_seed, generator
from shared_models.speakers.augmentation import Perturbation
from shared_models.speakers.encoders.encoder import build_encoder, embed_spectra
from shared_models.speakers.encoders.encoder_file import save_encoder
from shared_models.speakers.encoders.losses import build_loss
from shared_models.tensor_file import under
from shared_models.utterance import Utterance
from simulations.evaluation.verification import all_pairs, equal_error_rate
from simulations.preparation import Prepared
from simulations.run_folder import RunFolder
from simulations.step_checkpoints import forget_after, keep, restore

FORMAT = "fedvoice-encoder-training-1"
_REPORT_EVERY = 50
_ALIKE = 1e-6
UNCHANGED = AugmentationConfig.model_validate({})


class EncoderTrainer:
    """An encoder, its loss and their optimizer: all that a step changes."""

    def __init__(self, config: EncoderConfig, speakers: int, seed: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "speaker encoder"))
            self.encoder = encoder_of(config).to(device)
            self.loss = build_loss(config.loss, self.encoder.width, speakers).to(device)
        self.trained = [*self.encoder.parameters(), *self.loss.parameters()]
        self.optimizer = adam(self.trained, config.rate)
        self.clip = config.gradient_clip

    def step(self, spectra: Tensor, speakers: Tensor) -> Tensor:
        """One step on ``spectra (N, M, frames, bins)`` of ``speakers (N,)``; the loss ``()`` before it."""
        self.encoder.train()
        embeddings = self.encoder(spectra.flatten(0, 1)).view(*spectra.shape[:2], -1)
        return descend(self.loss(embeddings, speakers), self.trained, self.optimizer, self.clip)

    @torch.no_grad()
    def is_collapsed(self, spectra: Tensor) -> bool:
        """Whether all of ``spectra (N, M, frames, bins)`` have one embedding, which has no gradient to leave by."""
        self.encoder.eval()
        embeddings = self.encoder(spectra.flatten(0, 1))
        return bool((embeddings - embeddings.mean(0)).abs().max() < _ALIKE)

    def state(self) -> dict[str, Tensor]:
        """Everything, by name."""
        parts = {"encoder": self.encoder.state_dict(), "loss": self.loss.state_dict()}
        parts["moments"] = moments(self.optimizer)
        return {
            f"{part}.{name}": t.cpu().contiguous() for part, held in parts.items() for name, t in held.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put :meth:`state` back. Raises :class:`CheckpointError` if it is another training's."""
        try:
            self.encoder.load_state_dict(under(state, "encoder."))
            self.loss.load_state_dict(under(state, "loss."))
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint is of another encoder or another number of speakers ({str(error).split(':')[0]}): "
                "resume with the run's own corpus"
            ) from None
        load_moments(self.optimizer, under(state, "moments."))


def encoder_of(config: EncoderConfig) -> Any:
    """The encoder that a recipe describes. Raises :class:`RecipeError` for sizes that it does not have."""
    sizes: dict[str, Any] = dict(config.sizes)
    if config.kind != "d_vector":
        sizes["norm"] = config.norm
    try:
        return build_encoder(config.kind, **sizes)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"encoder.sizes do not fit a {config.kind}: {error}") from None


def with_signal(recipe: Recipe) -> Recipe:
    """The recipe, with features that hold what its encoder hears."""
    return recipe.override({"features.signals": [encoder_of(recipe.encoder).hears]})


def train_encoder(
    run: RunFolder,
    recipe: Recipe,
    data: Prepared,
    on_step: Callable[[int, int], None] | None = None,
    on_metrics: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train, or go on training, up to the recipe's last step; the path of the encoder's file.

    ``recipe`` is :func:`with_signal`'s. Raises :class:`CorpusError` for a corpus with fewer than two speakers,
    :class:`NotFiniteError` where training diverges, and :class:`CollapsedError` where it tells nobody apart any more.
    """
    torch.set_num_threads(recipe.engine.threads)
    config, device = recipe.encoder, accelerator_of(recipe.engine).device
    repeat_on(device)
    signal, room = recipe.features.signals[0], Room(TRAININGS_ROOM)
    speakers = [_speech_of(own, data, recipe, room) for own in data.train.values()]
    if len(speakers) < 2:
        raise CorpusError("a speaker encoder needs at least 2 train speakers to tell apart")
    unseen = {name: _speech_of(own, data, recipe, room) for name, own in data.test.items()}
    trainer = EncoderTrainer(config, len(speakers), recipe.seed, device)
    done = restore(trainer, run.path / "checkpoints", FORMAT, "a speaker encoder's training")
    forget_after(run.path / "metrics.jsonl", done)
    losses: list[Tensor] = []
    for number in range(done + 1, config.steps + 1):
        rng = generator(recipe.seed, "speaker encoder batch", number)
        spectra, whose = draw(speakers, signal, config, rng, recipe.augmentation)
        losses.append(trainer.step(spectra.to(device), whose.to(device)))
        last = number == config.steps
        keeping = last or number % config.checkpoint_every == 0
        judging = last or number % config.validate_every == 0
        if number % _REPORT_EVERY == 0 or keeping or judging:
            line: dict[str, Any] = {"step": number, "loss": float(np.mean(told(losses)))}
            if not np.isfinite(line["loss"]):
                raise NotFiniteError(f"the loss is not finite at step {number}: lower encoder.lr")
            if judging:
                line["eer"] = eer_of(trainer.encoder, unseen, signal, config.trial_utterances)
            append_line(run.path / "metrics.jsonl", json.dumps(finite(line)), durable=keeping)
            if on_metrics is not None:
                on_metrics(line)
            losses = []
        if keeping and trainer.is_collapsed(spectra.to(device)):
            raise CollapsedError(
                f"the encoder has one embedding for everything at step {number}: train anew with a lower encoder.lr "
                f"than {config.rate:g}"
            )
        if keeping:
            keep(trainer, run.path / "checkpoints", number, FORMAT)
        if on_step is not None:
            on_step(number, config.steps)
    path = run.path / "encoder.safetensors"
    notes = {"recipe": recipe.name, "digest": recipe.digest, "steps": str(config.steps)}
    save_encoder(path, config.kind, trainer.encoder, notes)
    return path


def draw(
    speakers: Sequence[Sequence[Features]],
    signal: str,
    config: EncoderConfig,
    rng: torch.Generator,
    augmentation: AugmentationConfig = UNCHANGED,
) -> tuple[Tensor, Tensor]:
    """Excerpts ``(N, M, frames, bins)`` of utterances of N different speakers, and who they are ``(N,)``.

    A speaker with fewer than M utterances is heard more than once. Utterances that are too short are repeated. Each
    excerpt may be changed by ``augmentation``.
    """
    # As long as the fastest speech needs.
    frames = math.ceil(config.frames * (1 + augmentation.speed)) if augmentation.share else config.frames
    chosen = torch.randperm(len(speakers), generator=rng)[: config.speakers]
    rows = []
    for speaker in chosen.tolist():
        own = speakers[speaker]
        order = torch.randperm(len(own), generator=rng).repeat(-(-config.utterances // len(own)))
        for index in order[: config.utterances].tolist():
            heard = own[index].signals[signal]
            heard = heard.repeat(-(-frames // len(heard)), 1)
            start = int(torch.randint(len(heard) - frames + 1, (1,), generator=rng))
            rows.append(_changed(heard[start : start + frames], signal, augmentation, rng)[: config.frames])
    return torch.stack(rows).view(len(chosen), config.utterances, config.frames, -1), chosen


def _changed(heard: Tensor, signal: str, augmentation: AugmentationConfig, rng: torch.Generator) -> Tensor:
    if not augmentation.share or torch.rand((), generator=rng) >= augmentation.share:
        return heard
    frames = round(len(heard) / steps_per_frame(signal))
    return Perturbation.drawn(augmentation, frames, rng).of_signal(signal, heard)


def eer_of(encoder: Any, speakers: Mapping[str, Sequence[Features]], signal: str, most: int) -> float:
    """The equal error rate over all pairs of ``most`` utterances a speaker; NaN for fewer than two speakers."""
    found = embeddings_of(encoder, speakers, signal, most)
    return equal_error_rate([all_pairs(found)]) if len(found) > 1 else float("nan")


def embeddings_of(
    encoder: Any, speakers: Mapping[str, Sequence[Features]], signal: str, most: int
) -> dict[str, NDArray[np.float32]]:
    """By speaker, the embeddings ``(n, E)`` of the first ``most`` utterances."""
    encoder.eval()
    found: dict[str, NDArray[np.float32]] = {}
    for name, own in speakers.items():
        embedded = [
            embed_spectra(encoder, own[index].signals[signal]) for index in range(min(most, len(own)))
        ]
        found[name] = torch.stack(embedded).numpy()
    return found


def _speech_of(own: Sequence[Utterance], data: Prepared, recipe: Recipe, room: Room) -> Sequence[Features]:
    # Excerpts are cut on the processor, and only those are moved.
    return KeptFeatures(CachedFeatures(own, data.cache, recipe.features), room, CPU)
