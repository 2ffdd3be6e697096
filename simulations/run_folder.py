"""The folder that a run writes, and all that a resumed run or a report needs to know about it.

::

    RUN/recipe.json          the resolved recipe
        environment.json     version, revision, seed, packages, machine class
        results.json         the table, once there is one
        report.html          the same for people
        tensorboard/ARM/     scalars, made from metrics.jsonl
        arms/ARM/metrics.jsonl, checkpoints/, audio/, devices/

``metrics.jsonl`` holds one object a round: ``round``, ``arm``, ``train_loss``, ``validation_loss``,
``epsilon``, ``clients``, ``seconds``, ``update_norm``, and whatever else a round measured.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from shared_models.config import Recipe, recipe_from_json
from shared_models.errors import CheckpointError, StorageError
from shared_models.file_names import file_name_of, is_harmless
from shared_models.files import append_line, storage_problems, write_atomically
from shared_models.plain_json import finite
from shared_models.private_files import private_folder
from simulations.environment import describe_environment


def default_run_path(recipe_name: str, root: Path = Path("runs")) -> Path:
    """``runs/<recipe>-<local time>``, with a counter where two runs start in one second."""
    stem = f"{file_name_of(recipe_name)}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    candidates = (root / (stem if copy == 1 else f"{stem}-{copy}") for copy in range(1, 1000))
    return next(path for path in candidates if not path.exists())


class RunFolder:
    """A run's files. Make one with :meth:`create` or :meth:`open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> RunFolder:
        """Start a run in an empty or new folder; raises :class:`StorageError` where there is one already."""
        run = cls(path)
        if run.recipe_path.exists():
            raise StorageError(
                f"{path} holds a run already: go on with it by --resume, or choose another --output"
            )
        with storage_problems(path):
            private_folder(path)
        # The recipe comes last: a folder with a recipe is a run that can be resumed.
        run.write_json("environment.json", describe_environment(recipe.seed))
        write_atomically(run.recipe_path, recipe.model_dump_json(indent=2) + "\n")
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run; raises :class:`CheckpointError` where ``path`` is none."""
        run = cls(path)
        if not run.recipe_path.is_file():
            raise CheckpointError(f"{path} is not a run folder: it has no recipe.json")
        return run

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def tensorboard_path(self) -> Path:
        return self.path / "tensorboard"

    def recipe(self) -> Recipe:
        """The resolved recipe that the run was started with."""
        return recipe_from_json(self.recipe_path.read_text(encoding="utf-8"))

    def environment(self) -> dict[str, Any]:
        """What the run ran on."""
        return self.read_json("environment.json")

    def results(self) -> dict[str, Any]:
        """The results; raises :class:`CheckpointError` while the run has none."""
        return self.read_json("results.json")

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Store the results, replacing earlier ones."""
        self.write_json("results.json", results)

    def arm(self, name: str) -> ArmFolder:
        """The part of the run that belongs to one arm."""
        if not is_harmless(name):
            raise CheckpointError(f"'{name}' cannot name an arm: an arm's name is a folder's name")
        return ArmFolder(self.path / "arms" / name, name)

    def arms(self) -> list[ArmFolder]:
        """The arms that have files: in the recipe's order, then any others by name."""
        ordered = list(self.recipe().arms)
        folder = self.path / "arms"
        found = {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder.is_dir() else set()
        names = [name for name in ordered if name in found] + sorted(found - set(ordered))
        return [self.arm(name) for name in names]

    def rebuild_tensorboard(self) -> None:
        """Write all scalars anew from the metrics: after any number of resumes, each round shows once."""
        for arm in self.arms():
            with ScalarLog(self.tensorboard_path / arm.name, arm.metrics()):
                pass

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Store plain data under ``name``; NaN and infinity, which JSON lacks, become null."""
        text = json.dumps(finite(data), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / name, text + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Plain data stored under ``name``; raises :class:`CheckpointError` where it is absent or damaged."""
        path = self.path / name
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing: the run has not come so far; resume it") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from None
        if not isinstance(data, dict):
            raise CheckpointError(f"{path} is damaged: it holds no object")
        return data


class ArmFolder:
    """One arm's files: metrics, checkpoints, audio, and its devices' own."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def audio(self) -> Path:
        return self.path / "audio"

    @property
    def devices(self) -> Path:
        return self.path / "devices"

    def append(self, metrics: Mapping[str, Any]) -> None:
        """Add one round's metrics, durably: what a checkpoint of that round may be followed by."""
        if not isinstance(metrics.get("round"), int):
            raise ValueError("a line of metrics names its round, as a whole number")
        line = finite({"arm": self.name, **metrics})
        append_line(self.metrics_path, json.dumps(line, ensure_ascii=False, allow_nan=False))

    def metrics(self) -> list[dict[str, Any]]:
        """All rounds in order, each once: a round that was run again after a resume counts as it ended last.

        A torn last line, which a kill leaves, is not there; a damaged line in the middle, which no kill can
        leave, raises :class:`CheckpointError`.
        """
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_bytes().split(b"\n")
        rounds: dict[int, dict[str, Any]] = {}
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn or empty
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                rounds[int(entry["round"])] = entry
            except (ValueError, KeyError, TypeError):
                raise CheckpointError(
                    f"{self.metrics_path}: line {number} is damaged; remove that line to go on without it"
                ) from None
        return [rounds[number] for number in sorted(rounds)]

    def forget_after(self, last_round: int) -> None:
        """Drop the rounds that a resumed run will run again, so that no reader sees them twice."""
        metrics = self.metrics()
        kept = [entry for entry in metrics if entry["round"] <= last_round]
        if len(kept) < len(metrics):
            lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
            write_atomically(self.metrics_path, "".join(lines))


class ScalarLog:
    """TensorBoard scalars of one arm, live; starts anew from the rounds that the metrics already hold.

    Starting anew is what makes a resume free of duplicates: TensorBoard's files only ever grow.
    """

    def __init__(self, path: Path, earlier: list[dict[str, Any]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with storage_problems(path):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            self._writer = SummaryWriter(str(path))  # type: ignore[no-untyped-call]
        for entry in earlier:
            self.add(entry)

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Show one round's numbers; text, flags and nulls are left out."""
        for name, value in metrics.items():
            if name != "round" and isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(name, value, metrics["round"])  # type: ignore[no-untyped-call]

    def __enter__(self) -> ScalarLog:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._writer.close()  # type: ignore[no-untyped-call]
