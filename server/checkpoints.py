"""Checkpoints of a federation: after every round, everything the next one needs.

One safetensors file a round: the shared weights as one flat vector, the server optimizer's moments, and
in its header the round, the partition's schema, the recipe and the accountant's state. Who took part is kept apart
(:mod:`server.participation`): a checkpoint is what people pass on. Written to a temporary name, synced and renamed,
so that a file with a round's name is always whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from server.participation import (
    Participation,
    forget_participation,
    load_participation,
    save_participation,
)
from shared_models.errors import CheckpointError
from shared_models.files import write_atomically
from shared_models.partition import weights_hash
from shared_models.tensor_file import read_tensors

FORMAT = "fedvoice-checkpoint-1"
_KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a federation after ``round``."""

    round: int
    weights: Tensor
    """``(D,)`` float32, the shared set."""
    schema: str
    """Which model the weights are of (:attr:`shared_models.partition.Partition.schema`)."""
    recipe: str
    """The resolved recipe as JSON."""
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    accountant: dict[str, Any] | None = None
    counted: dict[int, int] = field(default_factory=dict)
    """Partition to the last round in which its update was counted."""
    report: dict[str, Any] | None = None
    """The round's report, which a server that died before it was out gives again."""

    @property
    def base_hash(self) -> str:
        """The identity of these weights, to which voice profiles are bound."""
        return weights_hash(self.weights)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and drop all but the newest two. Raises StorageError on a full disk."""
    kept = Participation(checkpoint.counted, checkpoint.report)
    save_participation(folder, checkpoint.round, checkpoint.base_hash, kept)
    header = {
        "format": FORMAT,
        "round": str(checkpoint.round),
        "schema": checkpoint.schema,
        "recipe": checkpoint.recipe,
        "accountant": json.dumps(checkpoint.accountant),
    }
    tensors = {"weights": checkpoint.weights} | {f"optimizer.{k}": v for k, v in checkpoint.optimizer.items()}
    path = folder / f"round-{checkpoint.round:05d}.safetensors"
    write_atomically(path, save(tensors, header))
    files = sorted(folder.glob("round-*.safetensors"))
    for old in files[:-_KEPT]:
        old.unlink(missing_ok=True)
    forget_participation(folder, {file.stem for file in files[-_KEPT:]})
    return path


def load_checkpoint(path: Path, *, schema: str | None = None) -> Checkpoint:
    """Read one checkpoint. Raises :class:`CheckpointError` if it is damaged or of another model."""
    header, tensors = read_tensors(
        path, "the checkpoint", "it is truncated or damaged, so use the one before it"
    )
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a FedVoice checkpoint")
    if schema is not None and header.get("schema") != schema:
        raise CheckpointError(
            f"the checkpoint {path} holds another model (schema {header.get('schema')}, this recipe makes {schema}): "
            "use the recipe that it was trained with"
        )
    moments = {k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")}
    try:
        number, weights = int(header["round"]), tensors["weights"]
        # Files of before it was kept apart have it in the header, and those of before there were live runs not at all.
        counted = {int(m): int(n) for m, n in json.loads(header.get("counted", "{}")).items()}
        report, accountant = json.loads(header.get("report", "null")), json.loads(header["accountant"])
        known = header["schema"], header["recipe"]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"the header of the checkpoint {path} is damaged ({type(error).__name__}: {error}): use the one before it"
        ) from None
    if weights.ndim != 1 or not weights.is_floating_point() or not bool(torch.isfinite(weights).all()):
        raise CheckpointError(
            f"the weights in the checkpoint {path} are no vector of finite numbers: use the one before it"
        )
    found = load_participation(path.parent, number, weights_hash(weights)) or Participation(counted, report)
    return Checkpoint(
        round=number,
        weights=weights,
        schema=known[0],
        recipe=known[1],
        optimizer=moments,
        accountant=accountant,
        counted=found.counted,
        report=found.report,
    )


def newest_round(folder: Path) -> int:
    """The last round that any checkpoint in ``folder`` is named after, damaged or not; 0 if there is none."""
    numbers = [path.stem.removeprefix("round-") for path in folder.glob("round-*.safetensors")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def latest_checkpoint(folder: Path, *, schema: str | None = None) -> Checkpoint | None:
    """The newest whole checkpoint in ``folder``; None if there is none at all.

    Goes back to the one before if the newest is damaged. Raises :class:`CheckpointError` if all are.
    """
    paths = sorted(folder.glob("round-*.safetensors"), reverse=True)
    for path in paths:
        try:
            return load_checkpoint(path, schema=schema)
        except CheckpointError:
            if path == paths[-1]:
                raise
    return None
