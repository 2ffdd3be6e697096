"""What a clone says of other texts, read by the base's recogniser: it holds the words while a voice is adapted."""

from __future__ import annotations

import torch
from torch import Tensor

from client.learning.phases import LossOf
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.config import Recipe
from shared_models.features import Batch
from shared_models.phoneme_recogniser import PhonemeRecogniser


def also_read(loss_of: LossOf, recogniser: PhonemeRecogniser, weight: float) -> LossOf:
    """``loss_of``, and ``weight`` times what ``recogniser`` misreads of texts that the batch's voices say."""

    def loss(model: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator) -> Tensor:
        heard = loss_of(model, batch, recipe, rng)
        return heard + weight * misread(recogniser, model, batch, recipe, rng)

    return loss


def misread(
    recogniser: PhonemeRecogniser, model: VoiceModel, batch: Batch, recipe: Recipe, rng: torch.Generator
) -> Tensor:
    """Mean cross-entropy ``()`` of the phonemes of one text for each of the batch's voices, as it would be spoken.

    A window of each is spoken, ``cloning.words_frames`` frames long.
    """
    texts, lengths = recogniser.drawn_texts(len(batch.phonemes), rng)
    voice = model.voice(batch.heard)
    said = model.acoustic.excerpts(texts, lengths, voice, recipe.cloning.words_frames, rng)
    return recogniser.loss(said.mel, said.mask, texts.gather(1, said.places))
