"""What a federation publishes: whole, signed, honest about its privacy, and without who took part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from live_home import make_home
from published_home import finished_home
from tiny_federation import tiny_recipe

from server.live.published import piece, published
from server.live.publishing import publish
from shared_models.base_model import load_base
from shared_models.errors import CheckpointError
from shared_models.published_model import LISTED, MANIFEST, SIGNATURE, WEIGHTS, verify_folder
from shared_models.tensor_file import read_tensors
from simulations.cli import run
from simulations.reports.figures import markdown_table

PRIVATE = {"privacy__mode": "central", "privacy__noise_multiplier": 1.0, "federation__sampling": "poisson"}


def test_a_published_model_is_what_clone_takes_and_holds_nobody(tmp_path: Path) -> None:
    recipe = tiny_recipe(corpus__path=str(tmp_path / "voices"))
    home = finished_home(tmp_path / "home", recipe)
    model = publish(home)
    assert {path.name for path in model.folder.iterdir()} == LISTED | {MANIFEST, SIGNATURE}
    manifest = verify_folder(model.folder, home.secret("ca.pem"))
    assert (manifest.federation, manifest.run, manifest.round) == ("test", "test", 3)
    base = load_base(model.folder)
    assert base.hash == manifest.base
    header, tensors = read_tensors(model.folder / WEIGHTS, "it", "no")
    assert set(header) == {"recipe", "schema"}
    assert set(tensors) == {"weights"}
    for path in model.folder.iterdir():
        content = path.read_bytes()
        for told in (b"counted", b"a moment", str(tmp_path).encode()):
            assert told not in content, path
    found = published(home)
    assert found is not None
    assert found.manifest == model.manifest


def test_without_privacy_the_card_says_unprotected_and_no_epsilon(tmp_path: Path) -> None:
    model = publish(finished_home(tmp_path / "home", tiny_recipe()))
    card = (model.folder / "MODEL.md").read_text()
    assert "Unprotected: no noise was added" in card
    assert "epsilon" not in card.lower()
    assert "Not evaluated" in card
    assert model.described.privacy.startswith("unprotected")


def test_with_privacy_the_card_names_unit_delta_mechanism_and_cohort(tmp_path: Path) -> None:
    home = finished_home(tmp_path / "home", tiny_recipe(**PRIVATE), population=30)
    card = (publish(home).folder / "MODEL.md").read_text()
    for words in (
        "at delta 1e-05",
        "for a person",
        "Gaussian mechanism",
        "cohort of 3 expected out of 30",
        "3 of 3",
    ):
        assert words in card, words


@pytest.mark.parametrize(
    ("changes", "number", "words"),
    [
        ({"weights": None, "accountant": None}, None, "does not say what it spent"),
        ({}, 2, "round 2 has no checkpoint"),
    ],
)
def test_what_could_not_be_said_truly_is_not_published(
    tmp_path: Path, changes: dict[str, object], number: int | None, words: str
) -> None:
    changes.pop("weights", None)
    home = finished_home(tmp_path / "home", tiny_recipe(**PRIVATE), **changes)
    with pytest.raises(CheckpointError, match=words):
        publish(home, number)
    assert published(home) is None


def test_weights_that_are_not_finite_are_neither_published_nor_cloned_on(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    good = finished_home(tmp_path / "good", recipe)
    weights = load_base(good.checkpoints).model.shared_vector()
    weights[5] = float("nan")
    home = finished_home(tmp_path / "home", recipe, weights=weights)
    with pytest.raises(CheckpointError, match="finite numbers"):
        publish(home)
    with pytest.raises(CheckpointError, match="finite numbers"):
        load_base(home.checkpoints)


def test_nothing_is_published_of_a_federation_without_a_round(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", tiny_recipe(), 3)
    with pytest.raises(CheckpointError, match="no finished round yet"):
        publish(home)


def test_a_model_that_shared_everything_is_published_without_anybodys_voice(tmp_path: Path) -> None:
    recipe = tiny_recipe(federation__algorithm="full")
    home = finished_home(tmp_path / "home", recipe)
    model = publish(home)
    alone = load_base(publish(finished_home(tmp_path / "alone", tiny_recipe())).folder)
    assert model.described.numbers == alone.model.partition.size
    assert load_base(model.folder).hash == model.described.base


def test_figures_are_of_the_weights_that_are_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = finished_home(tmp_path / "home", tiny_recipe())
    base = publish(home).described.base
    results = {
        "recipe": "tiny", "base": base, "unseen_speakers": 4, "anchors": {},
        "arms": {"federated": {"metrics": {"similarity_after": {"mean": 0.7, "low": 0.6, "high": 0.8, "n": 4}}}},
    }  # fmt: skip
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results))
    command = ["serve", "publish", "--home", str(home.folder), "--figures", str(file), "--json"]
    assert run([*command, "--output", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["evaluated"]
    card = (tmp_path / "out" / "MODEL.md").read_text()
    assert "on 4 unseen speakers" in card
    assert "| Speaker similarity (cosine) | after cloning | 0.700 |" in card
    assert verify_folder(tmp_path / "out").base == base
    file.write_text(json.dumps(results | {"base": "0" * 64}))
    assert run(command) == 2
    assert "the figures are of the weights 000000000000" in capsys.readouterr().err
    file.write_text("[]")
    assert run(command) == 2
    assert run([*command[:4], "--output", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(CheckpointError):
        markdown_table({"arms": 3})


def test_pieces_are_of_the_listed_files_alone(tmp_path: Path) -> None:
    home = finished_home(tmp_path / "home", tiny_recipe())
    model = publish(home)
    content = (model.folder / WEIGHTS).read_bytes()
    assert piece(model, WEIGHTS, 10, 100) == content[10:110]
    assert piece(model, WEIGHTS, len(content), 100) == b""
    for name in (
        "../../admin.token",
        "/etc/passwd",
        "manifest.json",
        "",
        "..",
        "model.safetensors/../MODEL.md",
    ):
        assert piece(model, name, 0, 100) is None, name
    assert piece(model, WEIGHTS, -1, 100) is None
    assert piece(model, WEIGHTS, len(content) + 1, 100) is None


def test_a_second_publication_replaces_the_first(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    home = finished_home(tmp_path / "home", recipe)
    first = publish(home)
    weights = load_base(home.checkpoints).model.shared_vector()
    home = finished_home(tmp_path / "home", recipe, weights=torch.zeros_like(weights))
    second = publish(home)
    found = published(home)
    assert found is not None
    assert found.folder == second.folder != first.folder
    verify_folder(first.folder)
