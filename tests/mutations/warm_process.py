"""A process that has imported the libraries once, and forks to run tests on the code as it is at that moment.

``python tests/mutations/warm_process.py`` reads one JSON line a request from its standard input, ``{"tests": [...],
"seconds": ...}``, and writes one line for each: what became of the tests. Nothing of the repository itself is
imported before the fork, so every request sees the files as they are. The process has no threads of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

# What takes long to import. None of it is the repository's own code.
_LIBRARIES = (
    "torch", "torchaudio", "opacus", "opacus.optimizers", "numpy", "scipy.stats", "scipy.signal", "soundfile",
    "safetensors.torch", "pydantic", "typer", "rich.console", "hypothesis", "hypothesis.strategies", "psutil",
    "dp_accounting", "dp_accounting.pld.privacy_loss_distribution", "flwr.app", "flwr.clientapp", "flwr.serverapp",
    "flwr.supercore.task_identity", "cryptography.hazmat.primitives.asymmetric.ec", "httpx", "starlette.requests",
    "uvicorn", "pytest",
)  # fmt: skip

# What code that makes no sense raises, rather than code that does the wrong thing.
_SENSELESS = (ImportError, NameError, SyntaxError, AttributeError, TypeError)
_RESULT, _LOG = Path("mutation.json"), Path("mutation.log")


class Recorder:
    """A pytest plugin that notes what became of each test."""

    def __init__(self) -> None:
        self.collection_errors: list[str] = []
        self.reports: list[dict[str, Any]] = []

    def pytest_collectreport(self, report: Any) -> None:
        """Notes a file that could not be collected."""
        if report.failed:
            self.collection_errors.append(f"{report.nodeid}: {str(report.longrepr)[-400:]}")

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """Notes each phase of each test: passed, skipped or failed, and with what."""
        error = None if call.excinfo is None else call.excinfo.type
        outcome = "passed" if error is None else "skipped" if error.__name__ == "Skipped" else "failed"
        self.reports.append(
            {
                "test": item.nodeid,
                "when": call.when,
                "outcome": outcome,
                "error": "" if error is None else error.__name__,
                "broken": error is not None and issubclass(error, _SENSELESS),
                "message": "" if call.excinfo is None else str(call.excinfo.value)[:300],
            }
        )


def _run(tests: list[str]) -> None:
    """In the child: the tests, then what became of them, in :data:`_RESULT`."""
    import pytest

    recorder = Recorder()
    options = ["-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
    status = int(pytest.main([*options, *tests], plugins=[recorder]))
    found = {"status": status, "collection_errors": recorder.collection_errors, "reports": recorder.reports}
    _RESULT.write_text(json.dumps(found))


def _answer(tests: list[str], seconds: float) -> dict[str, Any]:
    started = time.monotonic()
    _RESULT.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.setsid()
        log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            _run(tests)
        finally:
            os._exit(0)
    hung = not _ended(child, started + seconds)
    # The tests' own processes are in the child's session, and end with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if hung:
        os.waitpid(child, 0)
    whole = not hung and _RESULT.exists()
    result: dict[str, Any] = (
        json.loads(_RESULT.read_text()) if whole else {"reports": [], "collection_errors": []}
    )
    log_end = _LOG.read_text(errors="replace")[-1500:] if _LOG.exists() else ""
    return result | {"hung": hung, "whole": whole, "seconds": time.monotonic() - started, "log": log_end}


def _ended(child: int, deadline: float) -> bool:
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)
    return False


def main() -> None:
    """Answer requests until the standard input ends."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    rooms = ("server", "client", "shared_models", "simulations")
    assert not any(name.split(".")[0] in rooms for name in sys.modules)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(_answer(request["tests"], request["seconds"])) + "\n")


if __name__ == "__main__":
    main()
