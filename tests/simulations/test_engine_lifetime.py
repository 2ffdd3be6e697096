"""Workers and shared memory through kills: nothing hangs, nothing is left behind, memory stays flat."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from shared_models import wire
from simulations.benchmarks.process_memory import tree_memory
from simulations.engine.in_process import InProcessGrid

APPS = Path(__file__).resolve().parent
REPOSITORY = APPS.parent.parent


def ask(grid: InProcessGrid, kind: str, content: RecordDict | None = None) -> list[Message]:
    return [grid.create_message(content or RecordDict(), kind, node, "") for node in grid.get_node_ids()]


def test_a_client_that_dies_answers_with_an_error_and_is_there_next_round() -> None:
    with InProcessGrid("engine_apps:app", clients=4, workers=2) as grid:
        grid.send_and_receive(ask(grid, "query.count"))
        before = set(grid.process_ids)
        replies = grid.send_and_receive(ask(grid, "query.die"))
        failed = [reply for reply in replies if reply.has_error()]
        assert len(replies) == 4
        assert [reply.metadata.src_node_id for reply in failed] == [grid.get_node_ids()[1]]
        assert failed[0].error.code == 8
        assert "signal 9" in (failed[0].error.reason or "")
        assert len(before - set(grid.process_ids)) == 1
        assert len(grid.process_ids) == 2
        again = grid.send_and_receive(ask(grid, "query.count"))
        assert [reply.has_error() for reply in again] == [False] * 4


def test_killing_every_worker_in_mid_round_loses_only_what_they_were_at() -> None:
    slow = RecordDict({"config": ConfigRecord({"seconds": 0.5})})
    with InProcessGrid("engine_apps:app", clients=6, workers=2) as grid:
        grid.send_and_receive(ask(grid, "query.count"))
        victims = grid.process_ids

        def kill() -> None:
            for pid in victims:
                os.kill(pid, signal.SIGKILL)

        killer = threading.Timer(0.2, kill)
        killer.start()
        replies = list(grid.stream(ask(grid, "query.sleep", slow)))
        killer.join()
        assert len(replies) == 6
        assert sum(reply.has_error() for reply in replies) == 2
        counts = [reply.content["answer"]["n"] for reply in grid.send_and_receive(ask(grid, "query.count"))]
        # What a client keeps does not live in its worker.
        assert counts == [2] * 6


def test_an_idle_worker_that_is_killed_costs_nothing() -> None:
    with InProcessGrid("engine_apps:app", clients=3, workers=1) as grid:
        grid.send_and_receive(ask(grid, "query.count"))
        victim = psutil.Process(grid.process_ids[0])
        victim.kill()
        _gone([victim.pid])
        replies = grid.send_and_receive(ask(grid, "query.count"))
        assert [reply.has_error() for reply in replies] == [False] * 3


def test_workers_start_again_after_the_process_they_come_from_has_died() -> None:
    with InProcessGrid("engine_apps:app", clients=2, workers=1) as grid:
        grid.send_and_receive(ask(grid, "query.count"))
        worker = psutil.Process(grid.process_ids[0])
        nursery = worker.parent()
        assert nursery is not None
        assert nursery.ppid() == os.getpid()
        nursery.kill()
        worker.kill()
        _gone([nursery.pid, worker.pid])
        replies = grid.send_and_receive(ask(grid, "query.count"))
        assert [reply.has_error() for reply in replies] == [False] * 2


def test_the_next_federation_is_born_of_the_same_nursery_into_surroundings_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grid(run: int, **environment: str) -> InProcessGrid:
        return InProcessGrid("engine_apps:app", clients=1, workers=1, run_id=run, environment=environment)

    def told(of: InProcessGrid) -> tuple[int, dict[str, object]]:
        (reply,) = of.send_and_receive(ask(of, "query.count"))
        return psutil.Process(of.process_ids[0]).ppid(), dict(reply.content["answer"])

    with grid(1, FEDVOICE_DEVICES="one") as first:
        nursery, heard = told(first)
    first.close()
    monkeypatch.chdir(tmp_path)
    with grid(2) as second:
        again, heard_again = told(second)
        # One that is open keeps its nursery to itself.
        with grid(3) as beside:
            assert told(beside)[0] != nursery
        first.close()
        assert told(second)[0] == nursery
    assert again == nursery
    assert (heard["environment"], heard_again["environment"]) == ("one", "")
    assert (heard["folder"] != str(tmp_path), heard_again["folder"]) == (True, str(tmp_path))
    assert (heard["n"], heard_again["n"]) == (1, 1)
    # What libraries read while they are imported is not a worker's own.
    with grid(4, OMP_WAIT_POLICY="active") as other:
        assert told(other)[0] != nursery


def test_workers_share_what_they_imported() -> None:
    with InProcessGrid("engine_apps:app", clients=4, workers=4) as grid:
        grid.send_and_receive(ask(grid, "query.count"))
        own = [psutil.Process(pid).memory_full_info() for pid in grid.process_ids]
        assert len(own) >= 2
        assert all(memory.uss < memory.rss / 4 for memory in own)


def test_closing_ends_the_workers() -> None:
    with InProcessGrid("engine_apps:app", clients=3, workers=2) as grid:
        grid.send_and_receive(ask(grid, "query.count"))
        workers = grid.process_ids
    assert not any(psutil.pid_exists(pid) for pid in workers)


_PARENT = """
import sys, torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from shared_models import wire
from simulations.engine.in_process import InProcessGrid
grid = InProcessGrid("engine_apps:app", clients=4, workers=2)
array = Array("float32", (1_000_000,), wire.STYPE, torch.ones(1_000_000).numpy().tobytes())
flat = RecordDict({"shared": ArrayRecord({"shared": array})})
ask = lambda kind, content: [grid.create_message(content, kind, node, "") for node in grid.get_node_ids()]
list(grid.stream(ask("train.flat", flat)))
print(*grid.process_ids, flush=True)
grid.send_and_receive(ask("query.sleep", RecordDict({"config": ConfigRecord({"seconds": 60.0})})))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_whatever_ends_the_parent_ends_its_workers_and_frees_their_memory(how: signal.Signals) -> None:
    shared_before = _shared_files()
    path = os.pathsep.join([str(REPOSITORY), str(APPS)])
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
        # A shell that runs the tests in the background has them ignore Ctrl-C, and their children with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    time.sleep(0.3)
    parent.send_signal(how)
    assert parent.wait(20) != 0
    parent.stdout.close()
    _gone(workers)
    assert _shared_files() == shared_before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cohort() -> None:
    peaks = {clients: _peak_of_a_round(clients) for clients in (4, 40)}
    # 36 more updates of 4 MB each would be 144 MB.
    assert peaks[40] < peaks[4] + 48e6


def _peak_of_a_round(clients: int) -> int:
    array = Array("float32", (1_000_000,), wire.STYPE, torch.ones(1_000_000).numpy().tobytes())
    content = RecordDict({"shared": ArrayRecord({"shared": array})})
    total, peak = torch.zeros(1_000_000), 0
    with InProcessGrid("engine_apps:app", clients=clients, workers=2) as grid:
        for _ in range(2):
            for reply in grid.stream(ask(grid, "train.flat", content)):
                data = reply.content.array_records["shared"]["shared"].data
                total += torch.frombuffer(data, dtype=torch.float32)
                peak = max(peak, tree_memory(psutil.Process()))
    assert float(total[0]) == clients * (clients + 1)
    return peak


def _gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            return True
        # Its sockets are open for as long as one of its threads is still on its way out.
        return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def _shared_files() -> set[str]:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return set()
    # The names that Python and torch give segments, and ours: other programs come and go.
    return {path.name for path in folder.iterdir() if path.name.startswith(("psm_", "torch_", "fedvoice"))}
