"""The bases that this user's voices were cloned on, kept by hash, so that the voices still speak without their run."""

from __future__ import annotations

import os
from pathlib import Path

from shared_models.base_model import BaseModel, load_base, packaged_base, write_base
from shared_models.errors import CheckpointError
from shared_models.pretrained import ACOUSTIC
from shared_models.private_files import shut_home


def bases_folder() -> Path:
    """Where this user's bases are kept by hash: ``$FEDVOICE_BASES``, or the user's data folder."""
    chosen = os.environ.get("FEDVOICE_BASES")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "fedvoice" / "bases"


def keep_base(base: BaseModel) -> Path:
    """Keep the base under its hash, so that voices cloned on it still speak when its run is gone."""
    path = bases_folder() / f"{base.hash}.safetensors"
    shut_home(path.parent)
    if not path.exists():
        write_base(path, base)
    return path


def find_base(digest: str) -> BaseModel:
    """The kept base with that hash; raises :class:`CheckpointError` if there is none."""
    path = bases_folder() / f"{digest}.safetensors"
    if not path.exists():
        if ACOUSTIC.is_file() and (packaged := packaged_base()).hash == digest:
            return packaged
        raise CheckpointError(
            f"this voice was cloned on base {digest[:12]}, which is not in {bases_folder()}: name the run that it was "
            "cloned on with --base"
        )
    return load_base(path)
