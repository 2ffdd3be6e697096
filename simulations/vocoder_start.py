"""What a vocoder's training begins with: another vocoder's weights, kept with the run."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from shared_models.errors import CorpusError
from shared_models.files import write_atomically
from shared_models.pretrained import VOCODER
from shared_models.vocoders.vocoder_file import load_vocoder
from simulations.run_folder import RunFolder


def keep_start(run: RunFolder, start: str | Path | None) -> Path | None:
    """The run's own copy of ``start``: a run that is resumed before its first checkpoint begins with it too.

    ``start`` is a vocoder file or ``packaged``. Raises :class:`shared_models.errors.CheckpointError` for a
    file that cannot be used.
    """
    kept = run.path / "start.safetensors"
    if start is not None:
        file = _file_of(start)
        load_vocoder(file)
        write_atomically(kept, file.read_bytes())
    return kept if kept.exists() else None


def check_start(start: str | Path, generator: nn.Module) -> None:
    """Whether ``generator`` can begin with it, before there is a run. Raises as :func:`keep_start` and
    :func:`begin_with` do; ``generator`` has its weights afterwards."""
    begin_with(generator, _file_of(start))


def begin_with(generator: nn.Module, file: Path) -> None:
    """Load a vocoder file into ``generator``. Raises :class:`CorpusError` if it is of another kind or size."""
    theirs = load_vocoder(file).generator.state_dict()
    shapes = [{name: tensor.shape for name, tensor in s.items()} for s in (generator.state_dict(), theirs)]
    if shapes[0] != shapes[1]:
        raise CorpusError(
            f"{file} holds another vocoder than the recipe describes: name one of its kind and sizes"
        )
    generator.load_state_dict(theirs)


def _file_of(start: str | Path) -> Path:
    return VOCODER if str(start) == "packaged" else Path(start)
