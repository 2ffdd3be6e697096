"""The base model that a device clones with and speaks with: a federation's shared weights, and their recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared_models.acoustic import build_model
from shared_models.acoustic.voice_model import VoicePartition
from shared_models.config import Recipe, recipe_from_json
from shared_models.errors import CheckpointError, RecipeError
from shared_models.federated_model import federated_voice_model
from shared_models.files import write_atomically
from shared_models.judges import NOBODY, Judges, judges_in
from shared_models.partition import PartitionedModel, weights_hash
from shared_models.pretrained import ACOUSTIC
from shared_models.published_model import WEIGHTS, is_published, verify_folder, weights_file
from shared_models.tensor_file import read_tensors


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A model with a federation's shared weights in it and a fresh personal set."""

    model: VoicePartition
    recipe: Recipe
    hash: str
    judges: Judges = NOBODY
    """What its clones are judged by while they are adapted."""

    def to(self, device: torch.device) -> BaseModel:
        """The same with the model, which is moved, on another device."""
        return replace(self, model=self.model.to(device))

    def adapted(self, adaptation: Mapping[str, Any]) -> BaseModel:
        """The same base for voices that are adapted as ``adaptation`` says (:attr:`SpeakerConfig.adaptation`).

        Its weights and its hash are the same, and a newcomer sounds the same on it. Raises :class:`CheckpointError`
        for an adaptation that has weights of everybody's, which this base lacks, and :class:`RecipeError`.
        """
        recipe = self.recipe.override({f"speaker.{field}": value for field, value in adaptation.items()})
        if recipe.speaker == self.recipe.speaker:
            return self
        model = PartitionedModel(build_model(recipe))
        if model.partition.schema != self.model.partition.schema:
            raise CheckpointError(
                f"the base {self.hash[:12]} was not trained with '{recipe.speaker.personal}', which has shared weights "
                "of its own: choose another adaptation, or a base of a recipe that has it"
            )
        model.load_shared_vector(self.model.shared_vector().cpu())
        model.model.eval()
        return replace(self, model=model.to(self.model.device), recipe=recipe)


def load_base(path: Path, arm: str | None = None) -> BaseModel:
    """Load a checkpoint file, the newest one of a run folder (of one ``arm``, if it has several), or a published
    model's folder, whose hashes and signature are checked.

    Raises :class:`CheckpointError` if there is none, or it is damaged, or not what its recipe makes.
    """
    manifest = verify_folder(path) if is_published(path) else None
    file = path / WEIGHTS if manifest is not None else path if path.is_file() else _newest(path, arm)
    header, tensors = read_tensors(file, "the checkpoint", "it is truncated or damaged, so use another")
    if not {"recipe", "schema"} <= header.keys() or "weights" not in tensors:
        raise CheckpointError(
            f"{file} is not a FedVoice checkpoint: name a run folder or a file of its checkpoints/"
        )
    weights, recipe = tensors["weights"], recipe_from_json(header["recipe"])
    # Full-model sharing publishes a personal set too; a newcomer starts from the shared one all the same.
    published = federated_voice_model(recipe)
    partition = published.partition
    if header["schema"] != partition.schema or weights.shape != (partition.size,):
        raise CheckpointError(
            f"the checkpoint {file} holds another model than its recipe makes (schema {header['schema']}, and "
            f"{partition.schema} here): it was written by another version of FedVoice"
        )
    if not weights.is_floating_point() or not bool(torch.isfinite(weights).all()):
        raise CheckpointError(
            f"the weights in {file} hold NaN or infinite numbers: nothing can be cloned on them"
        )
    published.load_shared_vector(weights)
    published.model.eval()
    base = PartitionedModel(published.model)
    judges = judges_in(tensors)
    judges.require_fit(base.model.dimensions)
    found = BaseModel(base, recipe.keeping_voices(), weights_hash(base.shared_vector()), judges)
    if manifest is not None and found.hash != manifest.base:
        raise CheckpointError(
            f"the weights in {path} are not those that its manifest names: fetch the model again"
        )
    return found


def packaged_base() -> BaseModel:
    """The base that ships. Raises :class:`CheckpointError` if this installation has none."""
    if not ACOUSTIC.is_file():
        raise CheckpointError(
            f"this installation has no base model at {ACOUSTIC}: name a run, as in --base runs/default-20261121-140000"
        )
    return load_base(ACOUSTIC)


def weights_from(base: VoicePartition, model: VoicePartition, named: str, own: Sequence[str] = ()) -> Tensor:
    """The shared weights ``(D,)`` of ``model`` as ``base`` has them, but for those that ``own`` names, as they are.

    What the base has beyond them, as an aligner that the model does without, is left. ``named`` says of an error what
    names the base. Raises :class:`RecipeError` for a base that lacks a tensor.
    """
    weights, theirs = model.shared_vector(), base.shared_vector()
    places = {tensor.name: tensor for tensor in base.partition.shared}
    for tensor in model.partition.shared:
        if any(fnmatchcase(tensor.name, pattern) for pattern in own):
            continue
        found = places.get(tensor.name)
        if found is None or found.shape != tensor.shape:
            raise RecipeError(
                f"{named} has no shared tensor '{tensor.name}' of the shape {tensor.shape}: choose a base of this "
                "recipe's [model] and [speaker], change those to the base's, or name the tensor in pretraining.fresh"
            )
        weights[tensor.start : tensor.stop] = theirs[found.start : found.stop]
    return weights


def write_base(path: Path, base: BaseModel) -> None:
    """Write the base to ``path``, as :func:`load_base` reads it, in half precision if that loses nothing.

    Raises StorageError.
    """
    recipe, schema = base.recipe.model_dump_json(), base.model.partition.schema
    weights = base.model.shared_vector()
    half = weights.half()
    kept = half if torch.equal(half.float(), weights) else weights
    write_atomically(path, weights_file(kept, recipe, schema, base.judges.tensors))


def _newest(run: Path, arm: str | None) -> Path:
    pattern = f"arms/{arm or '*'}/checkpoints/round-*.safetensors"
    # A run's arms, a live server's home, or the checkpoints' own folder.
    found = [] if arm else sorted(run.glob("checkpoints/round-*.safetensors"))
    found = sorted(run.glob(pattern)) or found or sorted(run.glob("round-*.safetensors"))
    if not found:
        wanted = f"arm '{arm}' of {run}" if arm else str(run)
        raise CheckpointError(
            f"{wanted} has no checkpoint: name a run folder, or a checkpoint file, that has one"
        )
    arms = {file.parent.parent.name for file in found}
    if arm is None and len(arms) > 1:
        # The federated one is what a run is for; the others are there to compare it with.
        preferred = [name for name in ("federated_dp", "federated") if name in arms]
        if not preferred:
            raise CheckpointError(f"{run} has the arms {', '.join(sorted(arms))}: choose one with --arm")
        found = [file for file in found if file.parent.parent.name == preferred[0]]
    return found[-1]
