"""``python -m simulations.reports RUN``: write a run's report anew, from what its folder holds."""

from __future__ import annotations

import sys
from pathlib import Path

from shared_models.console import print_error
from shared_models.errors import FedVoiceError
from simulations.reports.report import write_report
from simulations.run_folder import RunFolder


def main(arguments: list[str]) -> int:
    """Write the report of the run folder that is the only argument, and print its path."""
    if len(arguments) != 1:
        print_error("give one run folder: python -m simulations.reports RUN")
        return 2
    try:
        sys.stdout.write(f"{write_report(RunFolder.open(Path(arguments[0])))}\n")
    except FedVoiceError as error:
        print_error(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
