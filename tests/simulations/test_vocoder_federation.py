"""``fedvoice vocoder federate``: many devices, one generator, on the same engine and server as all else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_federation import small_corpus
from typer.testing import CliRunner

from server.checkpoints import latest_checkpoint
from shared_models.config import Recipe
from shared_models.vocoders import load_vocoder
from simulations import cli, vocoder_federation
from simulations.run_folder import RunFolder

pytestmark = pytest.mark.slow
SMALL = (
    "vocoder.width=16", "vocoder.hidden=16", "vocoder.blocks=1", "vocoder.batch_size=2",
    "vocoder.segment_frames=8", "vocoder.context_frames=0", "vocoder.discriminators=['period']",
    "vocoder.discriminator_widths=[0.01]", "vocoder.discriminator_weights=[]", "vocoder.adversarial_from=2",
    "client.outer_steps=2", "federation.rounds=2", "federation.cohort=2", "engine.workers=1", "evaluation.every=1",
)  # fmt: skip


def federate(*arguments: str | Path) -> dict[str, object]:
    done = CliRunner().invoke(cli.app, ["vocoder", "federate", "--json", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def sets(*more: str) -> list[str]:
    return [part for change in (*SMALL, *more) for part in ("--set", change)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("federated") / "corpus", train=3, test=1, utterances=3)


def weights_of(run: Path) -> torch.Tensor:
    last = latest_checkpoint(RunFolder(run).arm("vocoder").checkpoints)
    assert last is not None
    return last.weights


def test_a_vocoder_is_federated_resumed_and_privately_too(corpus: Path, tmp_path: Path) -> None:
    done = federate("--corpus", corpus, "--output", tmp_path / "run", *sets())
    assert done["clients"] == 3
    assert done["privacy"] is None
    file = load_vocoder(Path(str(done["vocoder"])))
    flat = torch.cat([p.reshape(-1) for p in file.generator.parameters()])
    assert torch.equal(flat, weights_of(tmp_path / "run"))
    metrics = RunFolder(tmp_path / "run").arm("vocoder").metrics()
    assert [m["round"] for m in metrics] == [1, 2]
    assert all(m["clients"] == 2 and m["train_loss"] > 0 and m["validation_loss"] > 0 for m in metrics)

    # Stopped after one round, and resumed: the same generator.
    half = tmp_path / "half"
    federate("--corpus", corpus, "--output", half, *sets())
    for path in sorted((half / "arms/vocoder/checkpoints").glob("*.safetensors"))[1:]:
        path.unlink()
    assert latest_checkpoint(half / "arms/vocoder/checkpoints").round == 1  # type: ignore[union-attr]
    federate("--resume", half)
    assert torch.equal(weights_of(half), weights_of(tmp_path / "run"))

    private = federate(
        "--corpus", corpus, "--output", tmp_path / "private", "--start", str(done["vocoder"]),
        *sets("privacy.mode=central", "privacy.noise_multiplier=2.0", "federation.sampling=poisson"),
    )  # fmt: skip
    statement = private["privacy"]
    assert isinstance(statement, dict)
    assert statement["epsilon"] > 0


def test_a_run_that_is_killed_before_its_first_checkpoint_keeps_its_start(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = sets("federation.rounds=1", "federation.cohort=2")
    first = federate("--corpus", corpus, "--output", tmp_path / "first", *short)
    start = tmp_path / "start.safetensors"
    shutil.copy(str(first["vocoder"]), start)
    federate("--corpus", corpus, "--output", tmp_path / "whole", "--start", start, *short)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(vocoder_federation, "run_federation", killed)
        arguments = ["vocoder", "federate", "--corpus", str(corpus), "--start", str(start), *short]
        done = CliRunner().invoke(cli.app, [*arguments, "--output", str(tmp_path / "killed")])
        assert done.exit_code != 0
    assert latest_checkpoint(RunFolder(tmp_path / "killed").arm("vocoder").checkpoints) is None
    start.unlink()
    federate("--resume", tmp_path / "killed")
    assert torch.equal(weights_of(tmp_path / "killed"), weights_of(tmp_path / "whole"))
    assert not torch.equal(weights_of(tmp_path / "killed"), weights_of(tmp_path / "first"))


def test_a_start_of_another_size_is_refused(corpus: Path, tmp_path: Path) -> None:
    from shared_models.vocoders import save_vocoder
    from shared_models.vocoders.from_recipe import dimensions_of, generator_of

    recipe = Recipe().override({"vocoder": {"width": 8, "hidden": 8, "blocks": 1}})
    other = tmp_path / "other.safetensors"
    save_vocoder(other, generator_of(recipe.vocoder, 1), "vocos", dimensions_of(recipe.vocoder))
    arguments = ["vocoder", "federate", "--corpus", str(corpus), "--start", str(other), *sets()]
    done = CliRunner().invoke(cli.app, [*arguments, "--output", str(tmp_path / "run")])
    assert done.exit_code != 0
    assert "another vocoder than the recipe describes" in str(done.exception)
