"""Reading files of tensors, safetensors or torch's own: whole, or one clear sentence."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from shared_models.errors import CheckpointError


def read_tensors(path: Path, what: str, remedy: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header and the tensors of the file at ``path``.

    Raises :class:`CheckpointError` if it is missing, truncated or damaged; the sentence calls the file ``what``
    and ends with ``remedy``.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # Broken bytes lead the reader into whatever error it happens to; none of them is a bug of ours.
    except Exception as error:
        raise CheckpointError(f"{what} {path} cannot be read ({error}): {remedy}") from None


def read_torch_file(path: Path, what: str, remedy: str) -> Any:
    """What torch's own file at ``path`` holds, of which nothing is run.

    Raises :class:`CheckpointError` as :func:`read_tensors` does.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # torch's own words advise to load it without this protection.
        said = "it is no file of weights, or holds more than weights"
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise CheckpointError(f"{what} {path} cannot be read ({said}): {remedy}")


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
