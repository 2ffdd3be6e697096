"""Makes the weights that ship: ``python -m simulations.publish RUN VOCODER``.

From a finished run of centralised training on public speech: its shared set without the optimizer's moments,
and the profiles of synthetic voices that it was trained on. Real speakers' voices are never published.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from client.base_model import load_base
from client.profile import VoiceProfile, save_profile
from client.training import VoicePartition
from server.checkpoints import Checkpoint, latest_checkpoint
from shared_models.acoustic import build_model
from shared_models.audio.cache import FeatureCache
from shared_models.config import recipe_from_json
from shared_models.errors import CheckpointError, CorpusError
from shared_models.files import write_atomically
from shared_models.partition import PartitionedModel
from shared_models.pretrained import FOLDER, VOICE_SUFFIX
from shared_models.speakers.condition import SpeakerCondition
from shared_models.utterance import Utterance
from shared_models.vocoders import load_vocoder
from simulations.preparation import Prepared, prepare

SYNTHETIC = "k_"
"""What the ids of the synthetic voices begin with; nobody else's voice may be published."""
REFERENCES = 12
"""Recordings that a published voice is heard in."""


def publish(run: Path, arm: str, voices: Sequence[str], target: Path = FOLDER) -> list[Path]:
    """Write the acoustic model of ``run`` and the profiles of ``voices`` to ``target``; the files written.

    Raises :class:`CorpusError` for a voice that is not a synthetic train voice of the run.
    """
    checkpoint = latest_checkpoint(run / "arms" / arm / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"{run} has no checkpoint of the arm '{arm}': train it first")
    acoustic = target / "acoustic.safetensors"
    recipe = recipe_from_json(checkpoint.recipe)
    # Where the speech lay on the machine that trained is nobody's business.
    told = recipe.override({"corpus.path": Path(recipe.corpus.path).name})
    header = {"recipe": told.model_dump_json(), "schema": checkpoint.schema}
    write_atomically(acoustic, save({"weights": checkpoint.weights}, header))
    digest = load_base(acoustic).hash
    data = prepare(recipe)
    model = _with_its_voices(checkpoint, len(data.train))
    written = [acoustic]
    for voice in voices:
        condition = _condition(model, data, voice)
        name = voice.removeprefix(SYNTHETIC)
        path = target / "voices" / f"{name}{VOICE_SUFFIX}"
        save_profile(path, VoiceProfile(condition, digest, name))
        written.append(path)
    return written


def _with_its_voices(checkpoint: Checkpoint, speakers: int) -> VoicePartition:
    """The model with a row for each speaker that it was trained on."""
    model = PartitionedModel(build_model(recipe_from_json(checkpoint.recipe), voices=speakers))
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
def _condition(model: VoicePartition, data: Prepared, voice: str) -> SpeakerCondition:
    if voice not in data.train or not voice.startswith(SYNTHETIC):
        raise CorpusError(
            f"'{voice}' is not a synthetic train voice of this run, and no other may be published"
        )
    row = list(data.train).index(voice)
    references = [_mel(u, data) for u in data.train[voice][:REFERENCES]]
    rows = torch.full((len(references),), row)
    lengths = torch.tensor([len(mel) for mel in references])
    return model.model.condition_of(rows, pad_sequence(references, batch_first=True), lengths).mean()


def _mel(utterance: Utterance, data: Prepared) -> Tensor:
    return FeatureCache(data.cache).get(utterance, data.recipe.features).mel


def main() -> None:
    """Entry point of ``python -m simulations.publish``."""
    parser = argparse.ArgumentParser(description="Make the weights that ship.")
    parser.add_argument("run", type=Path, help="a finished run of the recipe base_voice")
    parser.add_argument("vocoder", type=Path, help="a trained vocoder file")
    parser.add_argument("--arm", default="centralised")
    parser.add_argument("--voices", nargs="+", required=True, help="ids of synthetic train voices")
    parser.add_argument("--target", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    load_vocoder(arguments.vocoder)
    written = publish(arguments.run, arguments.arm, arguments.voices, arguments.target)
    vocoder = arguments.target / "vocoder.safetensors"
    shutil.copyfile(arguments.vocoder, vocoder)
    for path in [*written, vocoder]:
        print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
