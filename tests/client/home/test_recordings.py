"""An owner's recordings: folders and tables, and what is said about those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from client.home.recordings import find_recordings, read_recordings
from shared_models.errors import CorpusError


def _wave(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds)), 16000)
    return path


def _said(path: Path, text: str, suffix: str = ".txt") -> None:
    _wave(path).with_suffix(suffix).write_text(text, encoding="utf-8")


def test_a_folder_of_audio_with_text_beside_it(tmp_path: Path) -> None:
    owner = tmp_path / "ada"
    _said(owner / "b.wav", "Two  words\n")
    _said(owner / "a.flac", "Hello", ".lab")
    (owner / "a.phones").write_text("0\t1\tsil\n")
    _wave(owner / "untold.wav")
    found = find_recordings(owner)
    assert [(u.utterance_id, u.text, u.speaker_id) for u in found.utterances] == [
        ("a", "Hello", "ada"),
        ("b", "Two words", "ada"),
    ]
    assert found.utterances[0].alignment == owner / "a.phones"
    assert [(p.path.name, "no text" in p.reason) for p in found.problems] == [("untold.wav", True)]
    assert not found.states_split


def test_folders_inside_are_speakers_unless_one_is_named(tmp_path: Path) -> None:
    _said(tmp_path / "ada" / "1.wav", "one")
    _said(tmp_path / "bob" / "1.wav", "one")
    assert {u.speaker_id for u in read_recordings(tmp_path)} == {"ada", "bob"}
    assert {u.utterance_id for u in read_recordings(tmp_path)} == {"ada/1", "bob/1"}
    assert {u.speaker_id for u in read_recordings(tmp_path, speaker="me")} == {"me"}


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_a_table_with_other_names_and_separators(tmp_path: Path, separator: str) -> None:
    _wave(tmp_path / "x.wav")
    rows = [["Sentence", "speaker", "audio", "lang", "split"], ["你好", "li", "x.wav", "zh", "dev"]]
    (tmp_path / "metadata.csv").write_text("\ufeff" + "\n".join(separator.join(r) for r in rows), "utf-8")
    (utterance,) = read_recordings(tmp_path)
    assert (utterance.text, utterance.speaker_id, utterance.language) == ("你好", "li", "zh")
    assert (utterance.split, utterance.role) == ("test", "query")
    assert find_recordings(tmp_path).states_split


def test_a_table_without_speakers_is_one_speakers(tmp_path: Path) -> None:
    _wave(tmp_path / "me" / "x.wav")
    table = tmp_path / "me" / "list.csv"
    table.write_text(
        'path,text\nx.wav,"Well, yes"\ngone.wav,Lost\nx.wav,\n'.replace("\nx.wav,\n", "\ny.wav,\n")
    )
    found = find_recordings(table)
    assert [(u.text, u.speaker_id) for u in found.utterances] == [("Well, yes", "me")]
    assert {p.path.name: p.reason for p in found.problems} == {
        "gone.wav": "there is no such file",
        "y.wav": "no text",
    }


def test_ljspeech_is_recognised(tmp_path: Path) -> None:
    _wave(tmp_path / "LJ" / "wavs" / "LJ001-0001.wav")
    (tmp_path / "LJ" / "metadata.csv").write_text(
        'LJ001-0001|In 1455, "he said|In fourteen fifty-five, "he said\n'
    )
    (utterance,) = read_recordings(tmp_path / "LJ")
    assert utterance.utterance_id == "LJ001-0001"
    assert utterance.text == 'In fourteen fifty-five, "he said'
    assert utterance.speaker_id == "LJ"


@pytest.mark.parametrize(
    ("table", "line", "word"),
    [
        ("", None, "empty"),
        ("file,speaker\nx.wav,a\n", 1, "text"),
        ("path,text\nx.wav,hello, there\n", 2, "quotes"),
        ("path,text,split\nx.wav,a,maybe\n", 2, "train or test"),
        ("path,text,role\nx.wav,a,judge\n", 2, "support or query"),
        ("path,text,seconds\nx.wav,a,long\n", 2, "number"),
        ("path,text,speaker_id\nx.wav,a,../up\n", 2, "folder"),
    ],
)
def test_a_bad_table_names_the_line_and_the_mend(
    tmp_path: Path, table: str, line: int | None, word: str
) -> None:
    _wave(tmp_path / "x.wav")
    (tmp_path / "metadata.csv").write_text(table)
    with pytest.raises(CorpusError, match=word) as raised:
        read_recordings(tmp_path)
    assert "\n" not in str(raised.value)
    assert line is None or f"line {line}" in str(raised.value)


def test_texts_are_found_whatever_their_case_and_encoding(tmp_path: Path) -> None:
    _wave(tmp_path / "REC 1.WAV")
    (tmp_path / "REC 1.TXT").write_text("One", encoding="utf-16")
    _wave(tmp_path / "b.wav")
    (tmp_path / "b.txt").write_bytes("Grüße".encode("cp1252"))
    _wave(tmp_path / "._b.wav")
    found = find_recordings(tmp_path)
    assert [(u.audio.name, u.text) for u in found.utterances] == [("REC 1.WAV", "One")]
    (problem,) = found.problems
    assert (problem.path.name, problem.kind) == ("b.wav", "no text")
    assert "save it again as UTF-8" in problem.reason


def test_of_copies_in_several_formats_one_is_used_and_the_others_are_named(tmp_path: Path) -> None:
    for name in ("a.flac", "a.wav", "b.flac", "b.ogg"):
        _said(tmp_path / name, "words")
    found = find_recordings(tmp_path)
    assert [u.audio.name for u in found.utterances] == ["a.wav", "b.flac"]
    assert {p.path.name: p.kind for p in found.problems} == {"a.flac": "second copy", "b.ogg": "second copy"}


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    (problem,) = find_recordings(tmp_path).problems
    assert problem.path == tmp_path
    assert ".wav" in problem.reason
    with pytest.raises(CorpusError, match="there are no recordings in it"):
        read_recordings(tmp_path)


def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes("path,text\nx.wav,Grüße\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="UTF-8"):
        read_recordings(tmp_path)


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no corpus"):
        read_recordings(tmp_path / "missing")
    _wave(tmp_path / "x.wav")
    with pytest.raises(CorpusError, match=r"x\.wav: no text"):
        read_recordings(tmp_path)
