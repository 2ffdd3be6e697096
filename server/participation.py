"""Who took part in a federation: the server's own, in files beside its checkpoints and never in one.

A checkpoint is passed on: people clone with it. Who was counted, who dropped out and how many there were is, with
privacy, as secret as the noise. So it lies in ``<checkpoints>-participation/``, a file a round, under the same
round's name, bound to the weights that it belongs to.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared_models.files import write_atomically

FORMAT = "fedvoice-participation-1"


@dataclass(frozen=True, slots=True)
class Participation:
    """Who took part until a round."""

    counted: dict[int, int] = field(default_factory=dict)
    """Partition to the last round in which its update was counted."""
    report: dict[str, Any] | None = None
    """The round's report, which a server that died before it was out gives again."""


def participation_folder(checkpoints: Path) -> Path:
    """Where the participation of the federation with these checkpoints is kept."""
    return checkpoints.with_name(f"{checkpoints.name}-participation")


def save_participation(checkpoints: Path, round_number: int, weights: str, found: Participation) -> None:
    """Keep it for the checkpoint of that round, whose weights have this hash; before the checkpoint is written."""
    content = {"format": FORMAT, "weights": weights, "counted": found.counted, "report": found.report}
    write_atomically(_path(checkpoints, round_number), json.dumps(content))


def load_participation(checkpoints: Path, round_number: int, weights: str) -> Participation | None:
    """Who took part until that round, or None where it is not known: the checkpoint was passed on without it.

    Without it devices are not told when they were last counted, which is one of the two ways in which a restored
    copy of a device is noticed.
    """
    path = _path(checkpoints, round_number)
    try:
        content = json.loads(path.read_text())
        if content["weights"] != weights:
            return None
        counted = {int(member): int(number) for member, number in content["counted"].items()}
        return Participation(counted, content["report"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logging.getLogger(__name__).warning(
            "%s cannot be read (%s): who took part until then is not known", path, error
        )
        return None


def forget_participation(checkpoints: Path, kept: set[str]) -> None:
    """Drop what belongs to none of the checkpoints with these stems."""
    for path in participation_folder(checkpoints).glob("round-*.json"):
        if path.stem not in kept:
            path.unlink(missing_ok=True)


def _path(checkpoints: Path, round_number: int) -> Path:
    return participation_folder(checkpoints) / f"round-{round_number:05d}.json"
