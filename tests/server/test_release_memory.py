"""A server's home that is put back from an older copy: noticed, refused, or charged for what it forgot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from round_players import Live, private_recipe, recipe_of

from server.checkpoints import load_checkpoint
from server.release_memory import ReleaseMemory
from server.rounds import federate
from shared_models.errors import StaleCopyError


class StopError(Exception):
    """The server is stopped here."""


def _run_until(live: Live, last: int) -> None:
    def stop(report: object, _: object) -> None:
        if getattr(report, "round", 0) == last:
            raise StopError

    with pytest.raises(StopError):
        federate(live.grid, live.plan, stop)


def _restored(tmp_path: Path, **changes: int) -> Live:
    """A run of 4 released rounds, whose folder is then put back as it was after 2."""
    home, copy = tmp_path / "home", tmp_path / "copy"
    memory = ReleaseMemory("run", tmp_path / "state")
    live = Live.of(private_recipe(federation__rounds=6), home / "checkpoints", memory=memory, **changes)
    _run_until(live, 2)
    shutil.copytree(home, copy)
    _run_until(live, 4)
    assert memory.released == 4
    shutil.rmtree(home)
    shutil.copytree(copy, home)
    return live


def test_an_older_copy_is_refused_and_releases_nothing(tmp_path: Path) -> None:
    live = _restored(tmp_path)
    asked = len(live.grid.asked)
    with pytest.raises(StaleCopyError, match=r"knows of 2 rounds .* remembers 4 released .*--charge-lost"):
        live.run()
    assert len(live.grid.asked) == asked, "nobody was asked for a round that was released before"
    assert not live.reports


def test_the_operator_may_go_on_and_the_lost_rounds_are_charged(tmp_path: Path) -> None:
    live = _restored(tmp_path, charged_until=4)
    live.run()
    assert [r.round for r in live.reports if r.round > 2] == [5, 6]
    final = load_checkpoint(tmp_path / "home" / "checkpoints" / "round-00006.safetensors")
    assert final.accountant == {"releases": [[1.0, 1.0, 6]]}
    assert "2 released rounds have no whole checkpoint" in live.waits[0].reason


def test_what_was_allowed_once_is_not_allowed_for_later_losses(tmp_path: Path) -> None:
    live = _restored(tmp_path, charged_until=3)
    with pytest.raises(StaleCopyError, match="remembers 4"):
        live.run()


def test_a_home_that_goes_on_is_not_taken_for_an_older_copy(tmp_path: Path) -> None:
    memory = ReleaseMemory("run", tmp_path / "state")
    live = Live.of(private_recipe(federation__rounds=3), tmp_path / "checkpoints", memory=memory)
    _run_until(live, 1)
    # Killed between a checkpoint and the memory of it: the home knows more, which is fine.
    memory.path.unlink()
    live.run()
    assert memory.released == 3
    live.run()
    assert ReleaseMemory("another", tmp_path / "state").released == 0


def test_without_privacy_a_repeated_round_costs_nothing_and_is_not_remembered(tmp_path: Path) -> None:
    memory = ReleaseMemory("run", tmp_path / "state")
    Live.of(recipe_of(federation__rounds=1), tmp_path / "checkpoints", memory=memory).run()
    assert memory.released == 0


def test_the_memory_never_goes_back_and_is_not_taken_for_empty_when_damaged(tmp_path: Path) -> None:
    memory = ReleaseMemory("run", tmp_path)
    memory.move(5)
    memory.move(3)
    assert memory.released == 5
    memory.path.write_text("{")
    with pytest.raises(StaleCopyError, match="cannot be read"):
        _ = memory.released
