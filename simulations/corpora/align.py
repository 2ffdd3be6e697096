"""Aligns a corpus with itself: ``python -m simulations.corpora.align CORPUS OUTPUT``.

Trains the unsupervised aligner alone on a corpus's train speakers and writes it as ``aligner.safetensors``, which
``simulations.publish --aligner`` ships with a base. What it finds is where the re-estimation of monophones begins
(:mod:`simulations.corpora.monophones`), which knows of pauses that no transcript tells of; what that finds is written
as ``.phones`` files. ``--base`` begins with a base's aligner and trains none. The embedded voices get their alignments
from it (``simulations.corpora.pack --alignments``); private speech does not, its aligner is learnt in the federation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoiceModel
from shared_models.audio.alignment import Phone, write_phones
from shared_models.audio.cache import FeatureCache, extract_all
from shared_models.audio.extraction import load_speech
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.base_model import BaseModel, load_base, packaged_base
from shared_models.config import Recipe, parse_override
from shared_models.errors import CheckpointError
from shared_models.features import Batch, Features, collate
from shared_models.file_names import file_name_of
from shared_models.losses import alignment_loss
from shared_models.optimization import adam, descend
from shared_models.seeds import generator
from shared_models.text.phonemes import words
from shared_models.utterance import Utterance
from simulations.corpora import open_corpus
from simulations.corpora.aligner_file import save_aligner
from simulations.corpora.alignment_graph import Graph, Whole, graph_of, made_slots
from simulations.corpora.monophones import align_corpus, normalised_by_speaker
from simulations.preparation import default_cache

STEPS = 1200
BATCH = 8
LEARNING_RATE = 2e-3
LEARN_FROM = 2000
"""About so many utterances, evenly chosen, are enough for the mixtures of monophones."""


def train_aligner(
    items: Sequence[Features], recipe: Recipe, progress: Callable[[int, int], None] | None = None
) -> VoiceModel:
    """A model whose aligner, and nothing else of it, is trained on ``items`` for :data:`STEPS` steps."""
    model = build_model(recipe)
    assert model.aligner is not None
    parameters = list(model.aligner.parameters())
    optimizer = adam(parameters, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    rng = generator(recipe.seed, "aligner")
    for step in range(STEPS):
        chosen = [items[i] for i in torch.randint(len(items), (BATCH,), generator=rng).tolist()]
        loss = alignment_loss(model.align(_batch(chosen)), weights=recipe.aligner)
        descend(loss, parameters, optimizer, clip=1.0)
        schedule.step()
        if progress is not None:
            progress(step + 1, STEPS)
    return model


def aligner_of(base: BaseModel, recipe: Recipe) -> VoiceModel:
    """The model of a base, of which the aligner is meant. Raises :class:`CheckpointError` if it cannot align these."""
    if base.model.model.aligner is None or base.recipe.features != recipe.features:
        raise CheckpointError(
            "this base has no aligner for such recordings: name one that has, or leave --base, which trains one"
        )
    return base.model.model


def find_durations(
    model: VoiceModel, utterances: Mapping[str, Utterance], features: Mapping[str, Features]
) -> dict[str, list[tuple[str, int]]]:
    """Symbols and frames of each utterance, by re-estimation on the train speakers from what ``model`` finds.

    Pauses between words that are made are among them. An utterance too short for its text keeps ``model``'s.
    """
    graphs = {name: graph_of(words(u.text, u.language)) for name, u in utterances.items()}
    first = {name: _first_durations(model, features[name], graph) for name, graph in graphs.items()}
    learn_from = [name for name, u in utterances.items() if u.split == "train"][:: _stride(utterances)]
    heard = normalised_by_speaker(features, {name: u.speaker_id for name, u in utterances.items()})
    found = align_corpus(graphs, heard, first, learn_from, _print_turn)
    return {name: made_slots(graph, found.get(name, first[name])) for name, graph in graphs.items()}


def phones_of(utterance: Utterance, slots: Sequence[tuple[str, int]], recipe: Recipe) -> list[Phone]:
    """The alignment of one utterance, given as symbols and frames, in seconds of its recording."""
    start = load_speech(utterance.audio, recipe.features).first_sample
    phones = []
    for symbol, frames in slots:
        end = start + frames * HOP
        phones.append(Phone(start / SAMPLE_RATE, end / SAMPLE_RATE, symbol))
        start = end
    return phones


@torch.no_grad()
def _first_durations(model: VoiceModel, features: Features, graph: Graph) -> Whole:
    durations = np.zeros(len(graph.symbols), dtype=np.int64)
    durations[~graph.gap] = model.align(_batch([features])).durations[0].numpy()
    return durations


def _stride(utterances: Mapping[str, Utterance]) -> int:
    return max(1, sum(u.split == "train" for u in utterances.values()) // LEARN_FROM)


def _batch(items: Sequence[Features]) -> Batch:
    return collate(items, references=None)


def main() -> None:
    """Entry point of ``python -m simulations.corpora.align``."""
    parser = argparse.ArgumentParser(description="Align a corpus with itself.")
    parser.add_argument("corpus", help="a folder that FedVoice can read")
    parser.add_argument("output", type=Path, help="where <utterance_id>.phones and aligner.safetensors go")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help="sizes of the base that it may be published with, as model.hidden=192",
    )  # fmt: skip
    parser.add_argument(
        "--base",
        type=Path,
        help="'packaged' or a base, whose aligner is begun with; one is trained by default",
    )
    arguments = parser.parse_args()
    sizes = dict(parse_override(text) for text in arguments.set)
    recipe = Recipe(name="align").override(
        {"corpus.path": arguments.corpus, **sizes, "aligner.learn": "always"}
    )
    # As they will be heard from people: alignments that some of them bring would trim them in another way.
    utterances = [replace(u, alignment=None) for u in open_corpus(recipe.corpus).utterances]
    found, _ = extract_all(utterances, recipe.features, FeatureCache(default_cache()), workers=2)
    if arguments.base is None:
        # Unseen speakers are aligned, and never learnt from.
        seen = [found[u.utterance_id] for u in utterances if u.split == "train" and u.utterance_id in found]
        model = train_aligner(seen, recipe, _print_progress)
    else:
        base = packaged_base() if str(arguments.base) == "packaged" else load_base(arguments.base)
        model = aligner_of(base, recipe)
    save_aligner(arguments.output / "aligner.safetensors", model, recipe)
    usable = {u.utterance_id: u for u in utterances if u.utterance_id in found}
    for name, slots in find_durations(model.eval(), usable, found).items():
        phones = phones_of(usable[name], slots, recipe)
        write_phones(arguments.output / f"{file_name_of(name)}.phones", phones)
    print(f"{arguments.output}: {len(found)} alignments")


def _print_turn(done: int, total: int) -> None:
    print(f"turn {done} of {total} of the re-estimation", flush=True)


def _print_progress(done: int, total: int) -> None:
    if done % 100 == 0:
        print(f"{done} of {total} steps", flush=True)


if __name__ == "__main__":
    main()
