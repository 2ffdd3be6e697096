"""Meta-StyleSpeech's training in episodes (Min 2021, arXiv 2106.03153, section 3.3), on pooled recordings.

An episode imitates a newcomer who is heard once: the style of one recording of each of several speakers, the support,
says the text of another, the query. The support is reconstructed; of the query there is no recording, and two
discriminators judge it that learn beside the model. Prototypes of styles need several speakers in one place. A device
has one, so that federated rounds do without episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from client.learning.phases import loss_of_output, teacher_forced
from shared_models.accelerator import seeded
from shared_models.acoustic.length_regulator import regulate
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import Recipe
from shared_models.features import Batch
from shared_models.layers.sequences import Excerpt, valid_steps
from shared_models.losses import acoustic_loss
from shared_models.optimization import load_moments, moments
from shared_models.seeds import derive_seed
from shared_models.speakers.heard import MEL
from shared_models.speakers.voice import Voice
from shared_models.style_discriminators import PhonemeDiscriminator, StyleDiscriminator
from shared_models.tensor_file import under

_BETAS = (0.9, 0.98)
_WEIGHTS = "weights."
_MOMENTS = "moments."


@dataclass(frozen=True, slots=True)
class Spoken:
    """Speech of B utterances with the phoneme that sounds in each frame."""

    mel: Tensor
    """``(B, T, n_mels)`` natural log."""
    phonemes: Tensor
    """``(B, T, H)``: the model's embedding of the phoneme."""
    mask: Tensor
    """``(B, T)`` bool."""


class Episodes:
    """The discriminators of a recipe with their optimizer, resumable."""

    def __init__(self, recipe: Recipe, model: VoiceModel, speakers: int, device: torch.device) -> None:
        self.config, d = recipe.episodes, model.dimensions
        with seeded(derive_seed(recipe.seed, "style discriminators"), torch.device("cpu")):
            self.style = StyleDiscriminator(d.n_mels, d.style_channels, d.embedding, speakers).to(device)
            self.phoneme = PhonemeDiscriminator(d.n_mels, d.hidden).to(device)
        self.discriminators = nn.ModuleDict({"style": self.style, "phoneme": self.phoneme})
        self.optimizer = torch.optim.Adam(self.discriminators.parameters(), self.config.lr, betas=_BETAS)

    def learns_in(self, round_number: int) -> bool:
        """Whether a round is one of episodes."""
        return self.config.from_round is not None and round_number >= self.config.from_round

    def loss(self, model: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator) -> Tensor:
        """One step of the discriminators on an episode; the model's loss ``()`` on it.

        That is the support's, its mel weighted by ``episodes.support_weight``, and what the discriminators find wrong
        with the queries.
        """
        output = teacher_forced(model, batch, recipe, rng)
        support = loss_of_output(output, batch, recipe, heard=True)
        mel = acoustic_loss(output, batch, error=recipe.losses.mel).mel
        voice = model.voice(batch.heard)
        real, query = recorded(model, batch, output.durations), said(model, batch, voice)
        # Of whom nothing is heard, or who is nobody, nobody can say whether a style is theirs.
        known = (batch.heard.rows >= 0) & (batch.heard.signals[MEL].lengths > 0)
        rows = batch.heard.rows.clamp_min(0)
        self._learn(real, query, rows, known, model.embedding(batch.heard).detach())
        wrong: Tensor = _mean((1 - self.style(query.mel, query.mask, rows)).square(), known)
        wrong = wrong + (1 - self.phoneme(query.mel, query.phonemes, query.mask)).square().mean()
        more = (self.config.support_weight - 1) * mel
        return support + more + self.config.adversarial_weight * wrong

    def state(self) -> dict[str, Tensor]:
        """Weights and moments, for a checkpoint."""
        weights = {f"{_WEIGHTS}{name}": value for name, value in self.discriminators.state_dict().items()}
        return weights | {f"{_MOMENTS}{name}": value for name, value in moments(self.optimizer).items()}

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Put :meth:`state` back; nothing to put back leaves it at its start."""
        if saved:
            self.discriminators.load_state_dict(under(saved, _WEIGHTS))
            load_moments(self.optimizer, under(saved, _MOMENTS))

    def _learn(self, real: Spoken, query: Spoken, rows: Tensor, known: Tensor, styles: Tensor) -> None:
        loss = _mean((1 - self.style(real.mel, real.mask, rows)).square(), known)
        loss = loss + _mean(self.style(query.mel.detach(), query.mask, rows).square(), known)
        loss = loss + (1 - self.phoneme(real.mel, real.phonemes, real.mask)).square().mean()
        loss = loss + self.phoneme(query.mel.detach(), query.phonemes, query.mask).square().mean()
        loss = loss + _mean(self.style.classification_loss(styles, rows), known)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()


def recorded(model: VoiceModel, batch: Batch, durations: Tensor) -> Spoken:
    """The recordings of a batch, whole; ``durations (B, L)`` int64 say which phoneme sounds when."""
    excerpt = Excerpt.whole(batch.mel_lengths, batch.mel.shape[1])
    return Spoken(batch.mel, _sounding(model, batch.phonemes, durations, excerpt), excerpt.mask())


def said(model: VoiceModel, batch: Batch, voice: Voice) -> Spoken:
    """What each voice of ``voice`` says of the next utterance's text, of predicted durations, pitch and energy."""
    acoustic = model.acoustic
    phonemes, lengths = batch.phonemes.roll(1, 0), batch.phoneme_lengths.roll(1, 0)
    mask = valid_steps(lengths, phonemes.shape[1])
    enriched, predicted = acoustic.variance_adaptor(acoustic.encode(phonemes, mask, voice), mask, voice)
    durations = acoustic.spoken_frames(phonemes, mask, predicted.log_duration.detach())
    frames = durations.sum(1)
    excerpt = Excerpt.whole(frames, int(frames.max()))
    mel = acoustic.decode(enriched, durations, excerpt, voice).mel
    return Spoken(mel, _sounding(model, phonemes, durations, excerpt), excerpt.mask())


def _sounding(model: VoiceModel, phonemes: Tensor, durations: Tensor, excerpt: Excerpt) -> Tensor:
    """``(B, T, H)`` without a gradient: judges are told what is to be said, and do not change how it is told."""
    return regulate(model.acoustic.embedding.weight.detach()[phonemes], durations, excerpt.steps())


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
