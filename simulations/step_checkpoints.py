"""Checkpoints of a training that counts steps, the newest two, and metrics that go no further than they do.

And whose training a folder holds, so that no other one goes on with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save
from torch import Tensor

from shared_models.errors import CheckpointError, OtherTrainingError
from shared_models.files import write_atomically
from shared_models.tensor_file import read_tensors

_KEPT = 2


class Trainer(Protocol):
    """All that a step changes, as tensors."""

    def state(self) -> Mapping[str, Tensor]:
        """What the next step depends on, by name."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put :meth:`state` back."""
        ...


def keep(trainer: Trainer, folder: Path, number: int, kind: str) -> None:
    """Write a checkpoint of the format ``kind`` after step ``number`` and drop all but the newest two."""
    header = {"format": kind, "step": str(number)}
    state = {name: tensor.contiguous() for name, tensor in trainer.state().items()}
    write_atomically(folder / f"step-{number:07d}.safetensors", save(state, header))
    for old in sorted(folder.glob("step-*.safetensors"))[:-_KEPT]:
        old.unlink(missing_ok=True)


def restore(trainer: Trainer, folder: Path, kind: str, what: str) -> int:
    """Load the newest whole checkpoint in ``folder``; its step, or 0 where there is none.

    ``what`` is trained, in words. Raises :class:`CheckpointError` if all of them are damaged, or of another format.
    """
    paths = sorted(folder.glob("step-*.safetensors"), reverse=True)
    for path in paths:
        try:
            header, state = read_tensors(
                path, "the checkpoint", "nor can a newer one, so start anew in another folder"
            )
        except CheckpointError:
            if path == paths[-1]:
                raise
            continue
        if header.get("format") != kind:
            raise CheckpointError(
                f"{path} is not a checkpoint of {what}, or is an older version's: start anew in another folder"
            )
        trainer.load_state(state)
        return int(header["step"])
    return 0


def forget_after(path: Path, step: int) -> None:
    """Drop the metrics of steps that will run again, so that no reader sees them twice."""
    if not path.exists():
        return
    whole = path.read_text(encoding="utf-8").split("\n")[:-1]
    kept = [line for line in whole if json.loads(line)["step"] <= step]
    write_atomically(path, "".join(f"{line}\n" for line in kept))


def claim(folder: Path, what: Mapping[str, Any]) -> None:
    """Say in ``folder`` whose training it holds; what is there goes on only if it is the same.

    Raises :class:`OtherTrainingError` if it holds another training.
    """
    path, content = folder / "training.json", json.dumps(what, indent=1, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != content:
        raise OtherTrainingError(
            f"{folder} holds a training of another base, with other settings or on another corpus: remove it, or "
            "name another output"
        )
    write_atomically(path, content)
