"""Makes the weights that ship: ``python -m simulations.publish RUN VOCODER --aligner FILE``.

From a finished run of centralised training on public speech: its shared set without the optimizer's moments,
the aligner that made the alignments that it was trained on, and the profiles of synthetic voices among its
speakers. Real speakers' voices are never published.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from client.learning.measured_prosody import with_measured_prosody
from client.profile import VoiceProfile, save_profile
from server.checkpoints import Checkpoint, latest_checkpoint
from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.audio.cache import FeatureCache
from shared_models.base_model import BaseModel, write_base
from shared_models.config import Recipe, parse_override, recipe_from_json
from shared_models.errors import CheckpointError, CorpusError, RecipeError
from shared_models.judges import Judges
from shared_models.mel_discriminator import discriminator_in
from shared_models.partition import PartitionedModel, weights_hash
from shared_models.pretrained import FOLDER, VOICE_SUFFIX
from shared_models.speakers.heard import Heard
from shared_models.speakers.voice import Voice
from shared_models.vocoders import load_vocoder
from simulations.corpora.aligner_file import with_aligner
from simulations.preparation import Prepared, prepare

SYNTHETIC = "k_"
"""What the ids of the synthetic voices begin with; nobody else's voice may be published."""
SPOKEN = ("model.pitch_spread", "model.duration_spread", "model.contrast")
"""What is chosen when training is over: it changes how a base speaks and none of its weights."""
CLONED = "cloning."
"""So is how clones are made on it."""
_SETTABLE = f"{', '.join(SPOKEN)}, or any field of {CLONED.rstrip('.')}"
REFERENCES = 12
"""Recordings that a published voice is heard in."""


def publish(
    run: Path,
    arm: str,
    voices: Sequence[str],
    target: Path = FOLDER,
    aligner: Path | None = None,
    spoken: Mapping[str, object] | None = None,
) -> list[Path]:
    """Write the acoustic model of ``run`` and the profiles of ``voices`` to ``target``; the files written.

    ``aligner``, for a run whose corpus brought alignments, lets people without any adapt their voices. ``spoken`` are
    fields among :data:`SPOKEN`, or of :data:`CLONED`, which the base has and the run's recipe had not. The
    discriminator that the run trained against comes with it. Nothing is written if anything is refused: raises
    :class:`CorpusError` for a voice that is not a synthetic train voice of the run, :class:`CheckpointError` for a run
    or an ``aligner`` that cannot be used, and :class:`RecipeError` for a field that must stay as it was trained.
    """
    if trained := sorted(f for f in spoken or {} if f not in SPOKEN and not f.startswith(CLONED)):
        raise RecipeError(
            f"{trained[0]} is part of what was trained and cannot be set when a base is published: set one of "
            f"{_SETTABLE}"
        )
    checkpoint = latest_checkpoint(run / "arms" / arm / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"{run} has no checkpoint of the arm '{arm}': train it first")
    recipe = recipe_from_json(checkpoint.recipe)
    data = prepare(recipe)
    # Where the speech lay on the machine that trained is nobody's business.
    told = recipe.without_folders().override(dict(spoken or {}))
    model = _with_its_voices(checkpoint, told, len(data.train))
    made = {voice: _voice(model, data, voice) for voice in voices}
    base = _base(model, told)
    if aligner is not None:
        base = with_aligner(base, aligner)
    judges = Judges(discriminator_in(checkpoint.optimizer, "adversary.weights."))
    base = replace(_in_half_precision(base), judges=judges)
    written = [target / "acoustic.safetensors"]
    write_base(written[0], base)
    for speaker, voice in made.items():
        name = speaker.removeprefix(SYNTHETIC)
        path = target / "voices" / f"{name}{VOICE_SUFFIX}"
        save_profile(path, VoiceProfile(voice, base.hash, name))
        written.append(path)
    return written


def _base(trained: VoicePartition, told: Recipe) -> BaseModel:
    """What was trained, without its speakers."""
    model = PartitionedModel(build_model(told))
    weights = trained.shared_vector()
    model.load_shared_vector(weights)
    return BaseModel(model, told, weights_hash(weights))


def _in_half_precision(base: BaseModel) -> BaseModel:
    """The base with its weights, the aligner's too, as they are kept on disk; the hash is of what the file gives."""
    weights = base.model.shared_vector().half().float()
    base.model.load_shared_vector(weights)
    return replace(base, hash=weights_hash(weights))


def _with_its_voices(checkpoint: Checkpoint, told: Recipe, speakers: int) -> VoicePartition:
    """The model as it will speak, with a row for each speaker that it was trained on."""
    model = PartitionedModel(build_model(told, voices=speakers))
    model.load_shared_vector(checkpoint.weights)
    rows = {
        name.removeprefix("personal."): value
        for name, value in checkpoint.optimizer.items()
        if name.startswith("personal.")
    }
    if not rows:
        raise CheckpointError("the run was not centralised: a federation has no voices to publish")
    model.load_personal_state(rows)
    model.model.eval()
    return model


@torch.no_grad()
def _voice(model: VoicePartition, data: Prepared, voice: str) -> Voice:
    if voice not in data.train or not voice.startswith(SYNTHETIC):
        raise CorpusError(
            f"'{voice}' is not a synthetic train voice of this run, and no other may be published"
        )
    row = list(data.train).index(voice)
    cache = FeatureCache(data.cache)
    recordings = [cache.get(u, data.recipe.features) for u in data.train[voice][:REFERENCES]]
    rows = torch.full((len(recordings),), row)
    heard = Heard.of([recording.reference for recording in recordings], rows)
    return with_measured_prosody(model.model, model.model.voice_of_speaker(heard), recordings)


def main() -> None:
    """Entry point of ``python -m simulations.publish``."""
    parser = argparse.ArgumentParser(description="Make the weights that ship.")
    parser.add_argument("run", type=Path, help="a finished run of the recipe base_voice")
    parser.add_argument("vocoder", type=Path, help="a trained vocoder file")
    parser.add_argument("--arm", default="centralised")
    parser.add_argument("--voices", nargs="+", required=True, help="ids of synthetic train voices")
    parser.add_argument("--target", type=Path, default=FOLDER)
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help=f"one of {_SETTABLE}"
    )
    parser.add_argument("--aligner", type=Path, help="aligner.safetensors of simulations.corpora.align")
    arguments = parser.parse_args()
    load_vocoder(arguments.vocoder)
    spoken = dict(parse_override(text) for text in arguments.set)
    written = publish(
        arguments.run, arguments.arm, arguments.voices, arguments.target, arguments.aligner, spoken
    )
    vocoder = arguments.target / "vocoder.safetensors"
    shutil.copyfile(arguments.vocoder, vocoder)
    for path in [*written, vocoder]:
        print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
