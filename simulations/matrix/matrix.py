"""The matrix of voice recipes: each trained to one budget from one start, and judged on the same unseen speakers.

::

    OUTPUT/recipes/    each recipe's training          OUTPUT/results.json  all figures
           judged/     figures and clips by recipe            table.md      the table and the orderings
           encoders/   the speaker encoders' training         matrix.png    likeness against size

What is finished stays: the same call goes on where it was. A recipe that fails is named and the others go on.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from shared_models.base_model import BaseModel, load_base
from shared_models.errors import StorageError
from shared_models.files import write_atomically
from shared_models.pretrained import default_vocoder
from simulations.benchmarks.cloning_material import Material, choose_material
from simulations.benchmarks.cloning_work import (
    COPIED,
    Copies,
    Figures,
    Maker,
    Piece,
    Recordings,
    Setting,
    open_base,
)
from simulations.environment import describe_environment
from simulations.evaluation.bootstrap import Estimate, bootstrap_of
from simulations.evaluation.recognition import load_moonshine
from simulations.evaluation.verification import equal_error_rate
from simulations.extra import require
from simulations.matrix.encoders import PUBLISHED, Tried, try_encoder
from simulations.matrix.judging import Cloner, judge, judges
from simulations.matrix.orderings import Ordering, orderings
from simulations.matrix.recipes import PACKAGED, Common, Entry, entries
from simulations.matrix.summary import Row, rows_of
from simulations.matrix.table import draw, markdown
from simulations.matrix.training import Trained, train
from simulations.parallel import in_processes
from simulations.run_folder import RunFolder
from simulations.simulate import Progress

START = "public start"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked of a matrix."""

    recipes: Sequence[str]
    common: Common
    speakers: int | None = None
    """Unseen speakers, at most."""
    support: int = 5
    sentences: int = 3
    steps: tuple[int, ...] = (5, 20)
    """Adaptation steps after which clones speak, beside zero-shot."""
    encoder_steps: int = 0
    """Of each speaker encoder's training; 0 leaves them out."""
    vocoder: str = field(default_factory=default_vocoder)


@dataclass(frozen=True, slots=True)
class Matrix:
    """All that was found."""

    rows: list[Row]
    trained: dict[str, Trained]
    rates: dict[str, Estimate]
    """Equal error rate by speaker encoder."""
    orderings: list[Ordering]
    failed: dict[str, str]
    """Why, by recipe or encoder."""
    people: list[str]
    left_out: tuple[str, ...]
    budget: str
    start: str

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        trained = {
            name: {k: v for k, v in asdict(one).items() if k != "run"} for name, one in self.trained.items()
        }
        return {
            "rows": [row.as_json() for row in self.rows], "trained": trained,
            "encoders": {kind: asdict(rate) for kind, rate in self.rates.items()},
            "orderings": [one.as_json() for one in self.orderings], "failed": self.failed,
            "people": self.people, "left_out": list(self.left_out), "budget": self.budget, "start": self.start,
        }  # fmt: skip


def make_matrix(wishes: Wishes, output: Path, cache: Path, progress: Progress) -> Matrix:
    """Train and judge, or go on where it was; the files in ``output`` are written after every recipe.

    Raises :class:`RecipeError` for recipes that there are not, :class:`CorpusError` for a corpus without two unseen
    speakers, :class:`MissingExtraError` for a judge that is not installed, and StorageError.
    """
    require("a matrix of recipes")
    chosen = entries(wishes.recipes, wishes.common)
    judges()
    load_moonshine()
    where = None if wishes.common.start == PACKAGED else Path(wishes.common.start)
    start = open_base(where)
    material = choose_material(
        [wishes.common.corpus], start.recipe.features, cache, support=wishes.support, sentences=wishes.sentences,
        speakers=wishes.speakers, workers=wishes.common.workers, progress=progress.stage("recordings"),
    )  # fmt: skip
    setting = Setting(start.recipe, cache, output / "judged", wishes.common.device)
    growing = _Growing(wishes, output, setting, material, progress, chosen)
    return growing.done(growing.cloner(START, where, start, wishes.steps))


class _Growing:
    """The matrix as it grows."""

    def __init__(
        self,
        wishes: Wishes,
        output: Path,
        setting: Setting,
        material: Material,
        progress: Progress,
        chosen: Sequence[Entry],
    ) -> None:
        self._wishes, self._output, self._setting = wishes, output, setting
        self._material, self._progress, self._chosen = material, progress, chosen
        self._rows: list[Row] = []
        self._trained: dict[str, Trained] = {}
        self._tried: list[Tried] = []
        self._failed: dict[str, str] = {}

    def done(self, start: Cloner) -> Matrix:
        """All of it; ``start`` clones as the public start does, which has had no training here."""
        real = self._heard(Recordings())
        self._rows += rows_of("real", real, real)
        copies = Copies(COPIED, self._wishes.vocoder)
        self._rows += rows_of(copies.name, self._heard(copies), real)
        self._rows += rows_of(START, self._heard(start), real)
        for entry in self._chosen:
            self._attempt(entry.name, partial(self._add, entry, real))
            self._write()
        for kind in PUBLISHED if self._wishes.encoder_steps else ():
            self._attempt(kind, partial(self._try, kind))
        return self._write()

    def _add(self, entry: Entry, real: Mapping[str, Figures]) -> None:
        common = self._wishes.common
        trained = train(entry, common.budget, self._output, self._setting.cache, self._progress)
        base = load_base(trained.run)
        steps = self._wishes.steps if trained.adapts else ()
        heard = self._heard(self.cloner(entry.name, trained.run, base, steps))
        self._rows += rows_of(entry.name, heard, real)
        self._trained[entry.name] = trained

    def _try(self, kind: str) -> None:
        wishes = self._wishes
        tried = try_encoder(
            kind, wishes.encoder_steps, wishes.common, self._output, self._setting.cache, self._progress
        )
        self._tried.append(tried)

    def cloner(self, name: str, path: Path | None, base: BaseModel, steps: tuple[int, ...]) -> Cloner:
        """What clones people on a base."""
        return Cloner(name, path, base.hash, base.recipe, steps, self._wishes.vocoder)

    def _heard(self, maker: Maker) -> dict[str, Figures]:
        """What the clips of all people are like."""
        advance = self._progress.stage(f"{maker.name}: unseen speakers")
        pieces = {person.name: Piece(maker, person, self._setting) for person in self._material.people}
        found: dict[str, Figures] = {}
        with in_processes(self._wishes.common.workers) as each:
            for name, figures in zip(pieces, each(judge, pieces.values()), strict=True):
                found[name] = figures
                advance(len(found), len(pieces))
        return found

    def _attempt(self, name: str, work: Callable[[], None]) -> None:
        """Do a part; what ends it is kept with its name, unless nothing can be kept any more."""
        try:
            work()
        except StorageError:
            raise
        except Exception as error:  # whatever is wrong with one recipe, the others are worth having
            self._failed[name] = f"{type(error).__name__}: {error}"
            write_atomically(self._output / f"failed-{name}.txt", traceback.format_exc())
        else:
            (self._output / f"failed-{name}.txt").unlink(missing_ok=True)

    def _write(self) -> Matrix:
        """Everything so far, as files too."""
        wishes = self._wishes
        matrix = Matrix(
            rows=self._rows,
            trained=self._trained,
            rates={t.kind: bootstrap_of(list(t.trials.values()), equal_error_rate) for t in self._tried},
            orderings=orderings(self._chosen, self._trained, self._rows, self._tried),
            failed=self._failed,
            people=[person.name for person in self._material.people],
            left_out=self._material.left_out,
            budget=str(wishes.common.budget),
            start=Path(wishes.common.start).name,
        )
        load = {"load_average": os.getloadavg()[0]}
        RunFolder(self._output).write_results(describe_environment() | load | matrix.as_json())
        write_atomically(self._output / "table.md", markdown(matrix))
        draw(self._output / "matrix.png", matrix.rows, matrix.trained)
        return matrix
