"""Reading safetensors files: whole, or one clear sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
