"""What a federation gives away: a model folder, signed by its authority, and served to its devices.

What is published is the shared weights after one finished round, whose cost the accountant has counted where there is
one. No optimizer state and no participation goes with them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from torch import Tensor

from server.accounting import accountant_for
from server.checkpoints import Checkpoint, load_checkpoint
from server.live.certificates import authority_key
from server.live.home import ServerHome
from server.live.model_card import Described, card
from server.live.published import CURRENT, FOLDER, Published
from shared_models.config import Recipe, recipe_from_json
from shared_models.errors import CheckpointError
from shared_models.federated_model import federated_voice_model
from shared_models.files import storage_problems, sync_folder, write_atomically
from shared_models.partition import PartitionedModel, weights_hash
from shared_models.published_model import (
    AUTHORITY,
    CARD,
    MANIFEST,
    PURPOSE,
    SIGNATURE,
    WEIGHTS,
    Manifest,
    listed,
    weights_file,
)

UNPROTECTED = "unprotected: no noise was added, so the weights may tell something of those who took part"


def publish(
    home: ServerHome, number: int | None = None, figures: str | None = None, measured: str | None = None
) -> Published:
    """Make a model folder of a finished round, the last one if ``number`` is None, and serve it from now on.

    ``figures`` is what an evaluation found, in Markdown, of the weights with the hash ``measured``. Raises
    :class:`CheckpointError` for a round that has no checkpoint, for weights that are not finite or not those that were
    measured, and for a federation of vocoders.
    """
    checkpoint = _checkpoint(home, number)
    recipe = _told(recipe_from_json(checkpoint.recipe))
    if recipe.trains == "vocoder":
        raise CheckpointError(
            "this federation trains a vocoder, which nobody clones on: its checkpoints are all there is to pass on"
        )
    weights, recipe, schema = _base(checkpoint, recipe)
    if measured not in (None, weights_hash(weights)):
        raise CheckpointError(
            f"the figures are of the weights {str(measured)[:12]}, and round {checkpoint.round} has "
            f"{weights_hash(weights)[:12]}: evaluate these, or publish without figures"
        )
    settings, authority = home.settings(), home.secret("ca.pem")
    described = Described(
        federation=settings.name,
        run=settings.run,
        round=checkpoint.round,
        recipe=recipe,
        population=settings.population,
        numbers=weights.numel(),
        base=weights_hash(weights),
        privacy=_privacy(recipe, checkpoint, settings.population),
        figures=figures,
        version=version("fedvoice"),
    )
    files = {
        WEIGHTS: weights_file(weights, recipe.model_dump_json(), schema),
        CARD: card(described).encode(),
        AUTHORITY: authority,
    }
    manifest = Manifest(
        federation=settings.name,
        run=settings.run,
        round=checkpoint.round,
        version=described.version,
        schema=schema,
        base=described.base,
        numbers=described.numbers,
        privacy=described.privacy,
        files={name: listed(content) for name, content in files.items()},
    ).to_json()
    signature = base64.b64encode(sign(home.folder, manifest)).decode()
    folder = home.path(FOLDER) / f"round-{checkpoint.round:05d}-{listed(manifest).sha256[:8]}"
    write_folder(folder, {**files, MANIFEST: manifest, SIGNATURE: signature.encode() + b"\n"})
    write_atomically(home.path(FOLDER) / CURRENT, json.dumps({"folder": folder.name}))
    return Published(folder, manifest, signature)


def sign(folder: Path, manifest: bytes) -> bytes:
    """The authority's signature of a manifest. Raises :class:`ServiceError` if its key cannot be used."""
    return authority_key(folder).sign(PURPOSE + manifest, ec.ECDSA(hashes.SHA384()))


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write a whole folder, or none of it: under another name first. Raises :class:`StorageError`."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    with storage_problems(folder):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for name, content in files.items():
                write_atomically(partial / name, content)
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        sync_folder(folder.parent)


def _checkpoint(home: ServerHome, number: int | None) -> Checkpoint:
    found = sorted(home.checkpoints.glob("round-*.safetensors"))
    if not found:
        raise CheckpointError(f"{home.folder} has no finished round yet: there is nothing to publish")
    wanted = found[-1].name if number is None else f"round-{number:05d}.safetensors"
    if wanted not in {path.name for path in found}:
        kept = " and ".join(str(int(path.stem.removeprefix("round-"))) for path in found)
        raise CheckpointError(
            f"round {number} has no checkpoint in {home.checkpoints}: those of {kept} are kept"
        )
    return load_checkpoint(home.checkpoints / wanted)


def _told(recipe: Recipe) -> Recipe:
    # Where speech lies on the operator's machine is nobody's business.
    return recipe.without_folders()


def _base(checkpoint: Checkpoint, recipe: Recipe) -> tuple[Tensor, Recipe, str]:
    """The weights ``(D,)`` to clone on, their recipe and schema: of a model that shared everything, the shared set."""
    if not bool(torch.isfinite(checkpoint.weights).all()):
        raise CheckpointError(
            f"the weights of round {checkpoint.round} hold NaN or infinite numbers: publish an earlier round, "
            "or train anew with a lower federation.server_lr"
        )
    trained = federated_voice_model(recipe)
    trained.load_shared_vector(checkpoint.weights)
    base = PartitionedModel(trained.model)
    return base.shared_vector(), recipe.keeping_voices(), base.partition.schema


def _privacy(recipe: Recipe, checkpoint: Checkpoint, population: int) -> str:
    accountant = accountant_for(recipe, population)
    if accountant is None:
        return UNPROTECTED
    if checkpoint.accountant is None:
        raise CheckpointError(
            f"the checkpoint of round {checkpoint.round} does not say what it spent, so nothing true could be said "
            "of its privacy: publish another round"
        )
    accountant.load(checkpoint.accountant)
    return accountant.describe(recipe.privacy.delta)
