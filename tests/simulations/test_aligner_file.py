"""An aligner as a file: what reads it gets the same, and a base that is given it speaks as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_federation import random_speech, shaken, tiny_model, tiny_recipe

from client.cloning import adapt, adapt_privately, voice_of_nobody
from client.home.ledger import Ledger
from shared_models.acoustic import build_model
from shared_models.base_model import BaseModel, load_base, write_base
from shared_models.errors import CheckpointError, RecipeError
from shared_models.features import collate
from shared_models.partition import weights_hash
from simulations.corpora.aligner_file import save_aligner, with_aligner


def base_of(**changes: Any) -> BaseModel:
    recipe = tiny_recipe(**({"aligner__learn": "never", "cloning__steps": 3} | changes))
    model = shaken(tiny_model(recipe))
    model.model.eval()
    with torch.no_grad():
        for parameter in model.personal_parameters():
            parameter.zero_()
    return BaseModel(model, recipe, weights_hash(model.shared_vector()))


def aligner_in(folder: Path, **changes: Any) -> Path:
    recipe = tiny_recipe(**({"aligner__learn": "always", "seed": 3} | changes))
    path = folder / "aligner.safetensors"
    save_aligner(path, build_model(recipe), recipe)
    return path


def test_a_base_that_is_given_an_aligner_speaks_as_before(tmp_path: Path) -> None:
    base = base_of()
    given = with_aligner(base, aligner_in(tmp_path))
    assert given.hash != base.hash
    phonemes, lengths = torch.tensor([[5, 9, 30, 12, 7]]), torch.tensor([5])
    said = [b.model.model.synthesize(phonemes, lengths, voice_of_nobody(b.model))[0] for b in (base, given)]
    assert torch.equal(said[0], said[1])
    own = build_model(tiny_recipe(aligner__learn="always", seed=3)).aligner
    taken = given.model.model.aligner
    assert own is not None
    assert taken is not None
    assert all(torch.equal(t, taken.state_dict()[name]) for name, t in own.state_dict().items())


def test_written_and_read_again_it_adapts_without_alignments(tmp_path: Path) -> None:
    speech = random_speech(4, aligned=False)
    with pytest.raises(RecipeError, match="without alignments"):
        adapt(base_of().model, speech, base_of().recipe)
    given = with_aligner(base_of(), aligner_in(tmp_path))
    write_base(tmp_path / "base.safetensors", given)
    read = load_base(tmp_path / "base.safetensors")
    assert (read.hash, read.recipe) == (given.hash, given.recipe)
    shared = read.model.shared_vector()
    voice = adapt(read.model, speech, read.recipe)
    assert voice["cln_scale"].any()
    assert torch.equal(read.model.shared_vector(), shared)
    private = read.recipe.override(
        {"personal_privacy": {"enabled": True, "epsilon": 8.0, "delta": 1e-3}, "cloning.steps": 2}
    )
    adapted = adapt_privately(read.model, speech, private, Ledger(tmp_path / "ledger.sqlite", 8.0, 1e-3))
    assert adapted.privacy is not None
    assert 0 < adapted.privacy["epsilon"] <= 8


def test_alignments_that_recordings_bring_are_believed(tmp_path: Path) -> None:
    given = with_aligner(base_of(), aligner_in(tmp_path))
    speech = random_speech(3)
    batch = collate(speech, [u.reference for u in speech])
    output = given.model.model(batch)
    assert output.alignment is None
    unaligned = random_speech(3, aligned=False)
    assert given.model.model(collate(unaligned, [u.reference for u in unaligned])).alignment is not None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"features__level_dbfs": None}, "trained with other features than the base"),
        ({"model__hidden": 32}, "of another size than the base's"),
    ],
)
def test_an_aligner_of_another_making_is_refused(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        with_aligner(base_of(), aligner_in(tmp_path, **changes))


def test_what_is_no_aligner_is_refused(tmp_path: Path) -> None:
    base = base_of()
    other = tmp_path / "base.safetensors"
    write_base(other, base)
    with pytest.raises(CheckpointError, match="is not an aligner's file"):
        with_aligner(base, other)
    path = aligner_in(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="cannot be read"):
        with_aligner(base, path)
    with pytest.raises(CheckpointError, match="has an aligner of its own"):
        with_aligner(base_of(aligner__learn="always"), path)
    with pytest.raises(CheckpointError, match="no aligner to save"):
        save_aligner(tmp_path / "none.safetensors", base.model.model, base.recipe)
