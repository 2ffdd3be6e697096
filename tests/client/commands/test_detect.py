"""``fedvoice detect``: what it says, and its exit code, of what ``fedvoice speak`` made and of other recordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from embedded_speech import embedded_recordings

from simulations.cli import run


def test_what_speak_wrote_is_found_and_a_recording_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = str(tmp_path / "said.wav")
    assert run(["speak", "The wind was cold that morning.", "--output", said]) == 0
    capsys.readouterr()
    assert run(["detect", said]) == 0
    assert "marked as synthetic in" in capsys.readouterr().out
    assert run(["detect", said, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["marked"]
    assert found["score"] > 0.99
    assert found["seconds_marked"] == found["seconds"] == found["parts"][0]["end"]
    other = str(embedded_recordings(1)[0])
    assert run(["detect", other]) == 1
    assert "no mark found" in capsys.readouterr().out
    assert run(["detect", other, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["marked"] is False


def test_what_is_no_recording_is_an_error_and_not_unmarked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.wav").write_text("no audio")
    assert run(["detect", str(tmp_path / "letter.wav")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
