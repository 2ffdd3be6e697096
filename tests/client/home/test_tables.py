"""Tables as other programs write them: whatever is lost is named, and nothing is given to somebody else."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.home.recordings import Recordings, find_recordings
from client.home.tables import LostRow, Row, rows_of
from shared_models.errors import CorpusError

TEXTS = ("This is 0.", "Well, yes", 'He said "no"', "Ünïcode 你好")


def waves(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(len(name)).normal(0, 0.1, 1600), 16000)


def table(root: Path, text: str, *names: str, encoding: str = "utf-8") -> Recordings:
    waves(root, *names)
    (root / "metadata.csv").write_bytes(text.encode(encoding))
    return find_recordings(root)


def texts(found: Recordings) -> dict[str, str]:
    return {u.audio.name: u.text for u in found.utterances}


@pytest.mark.parametrize("delimiter", ["\t", "|", ",", ";"])
def test_a_quote_that_is_not_closed_takes_no_row_with_it(tmp_path: Path, delimiter: str) -> None:
    rows = [["path", "speaker", "text"], *[[f"{n}.wav", f"s{n % 2}", f'"This is {n}.'] for n in range(4)]]
    found = table(tmp_path, "\n".join(delimiter.join(r) for r in rows), *(f"{n}.wav" for n in range(4)))
    assert texts(found) == {f"{n}.wav": f'"This is {n}.' for n in range(4)}
    assert {u.audio.name: u.speaker_id for u in found.utterances} == {
        f"{n}.wav": f"s{n % 2}" for n in range(4)
    }
    assert found.problems == ()


def test_an_open_quote_is_not_closed_by_a_later_row(tmp_path: Path) -> None:
    found = table(tmp_path, 'path,text\n0.wav,"zero\n1.wav,one\n2.wav,two"\n', "0.wav", "1.wav", "2.wav")
    assert texts(found) == {"0.wav": '"zero', "1.wav": "one", "2.wav": 'two"'}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_csv_writes_is_read(tmp_path: Path, delimiter: str, end: str) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    writer.writerow(["path", "text"])
    for number, text in enumerate((*TEXTS, 'two\nlines, "quoted"; of\ttext|')):
        writer.writerow([f"{number}.wav", text])
    found = table(tmp_path, stream.getvalue(), *(f"{n}.wav" for n in range(5)))
    assert texts(found) == {
        **{f"{n}.wav": t for n, t in enumerate(TEXTS)},
        "4.wav": 'two lines, "quoted"; of text|',
    }
    assert found.problems == ()


def test_marks_blank_lines_and_empty_columns_are_no_matter(tmp_path: Path) -> None:
    text = "\n\npath,text,,\n\na.wav,one,,\n,,,\n   \nb.wav,two,,,,\n"
    for encoding in ("utf-8-sig", "utf-16"):
        found = table(tmp_path, text, "a.wav", "b.wav", encoding=encoding)
        assert texts(found) == {"a.wav": "one", "b.wav": "two"}
        assert found.problems == ()
    assert len(table(tmp_path, f"sep=;\n{text.replace(',', ';')}").utterances) == 2


def test_every_lost_row_is_named_by_its_line(tmp_path: Path) -> None:
    lines = [
        "path,text,split,role,seconds,speaker_id",
        "a.wav,kept,,,,",
        "a.wav,the same,,,,",
        "b.wav,too few",
        "b.wav,no, quotes, around it,,,,",
        "b.wav,bad split,maybe,,,",
        "b.wav,bad role,,judge,,",
        "b.wav,bad length,,,long,",
        "b.wav,bad name,,,,../up",
        ",no path,,,,",
        "gone.wav,no file,,,,",
        "c.wav,,,,,",
        "c.wav,kept as well,,,,",
    ]
    found = table(tmp_path, "\n".join(lines), "a.wav", "b.wav", "c.wav")
    assert texts(found) == {"a.wav": "kept", "c.wav": "kept as well"}
    assert len(found.problems) == len(lines) - 3
    said = [f"{p.path.name} {p.reason}" for p in found.problems]
    for line in (3, 4, 5, 6, 7, 8, 9, 10):
        assert any(f"line {line}:" in sentence for sentence in said), said
    assert "gone.wav there is no such file" in said


def test_piper_names_speakers_in_its_second_column(tmp_path: Path) -> None:
    lines = [f"A{n}.wav|spk{n % 2}|This is sentence {n}." for n in range(6)]
    waves(tmp_path / "wavs", *(f"A{n}.wav" for n in range(6)))
    found = table(tmp_path, "\n".join(lines))
    assert {u.audio.stem: u.speaker_id for u in found.utterances} == {
        f"A{n}": f"spk{n % 2}" for n in range(6)
    }
    assert {u.text for u in found.utterances} == {f"This is sentence {n}." for n in range(6)}


@pytest.mark.parametrize(
    "lines",
    [
        ["a|In 1455|In fourteen fifty-five", "b|Dr. Who|Doctor Who", "c|Yes|Yes"],
        ["a|7|seven", "b|7|seven", "c|8|eight"],  # a text that repeats has one normalised text
        ["a|yes|Yes", "b|yes|yes", "c|no|no"],
    ],
)
def test_ljspeechs_second_column_is_no_speaker(tmp_path: Path, lines: list[str]) -> None:
    found = table(tmp_path / "LJ", "\n".join(lines), "a.wav", "b.wav", "c.wav")
    assert {u.speaker_id for u in found.utterances} == {"LJ"}
    assert texts(found) == {f"{line[0]}.wav": line.split("|")[2] for line in lines}


def test_more_columns_without_a_header_are_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="4 columns and no header; write one"):
        table(tmp_path, "a|s|x|y\n", "a.wav")


def test_names_are_found_as_other_systems_write_them(tmp_path: Path) -> None:
    waves(tmp_path, "rec/0.wav", "rec/REC 1.WAV", "clips/2.mp3", "rec/é.wav")
    text = "path,text\nrec\\0.wav,zero\nrec/rec 1.wav,one\n2.mp3,two\nrec/e\u0301.wav,three\n"
    found = table(tmp_path, text)
    assert texts(found) == {"0.wav": "zero", "REC 1.WAV": "one", "2.mp3": "two", "é.wav": "three"}
    assert {u.utterance_id for u in found.utterances} == {"rec/0", "rec/rec 1", "2", "rec/e\u0301"}
    assert found.problems == ()


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "gbk"])
def test_another_encoding_names_the_remedy(tmp_path: Path, encoding: str) -> None:
    text = "path,text\na.wav,你好\n" if encoding == "gbk" else "path,text\na.wav,Grüße\n"
    with pytest.raises(CorpusError, match=r"metadata\.csv is not UTF-8 text.*save it again as UTF-8"):
        table(tmp_path, text, "a.wav", encoding=encoding)


def test_a_table_without_rows_says_so(tmp_path: Path) -> None:
    (problem,) = table(tmp_path, "path,text\n").problems
    assert (problem.path.name, problem.reason) == ("metadata.csv", "it lists no recordings")


def test_one_recording_is_no_table(tmp_path: Path) -> None:
    waves(tmp_path, "memo.wav")
    with pytest.raises(CorpusError, match=r"memo\.wav is one recording: name the folder.*memo\.txt"):
        find_recordings(tmp_path / "memo.wav")


fields = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\x1c\x1d\x1e\x85\u2028\u2029")
)


@given(
    rows=st.lists(
        st.tuples(st.from_regex(r"[a-z]{1,8}\.wav", fullmatch=True), fields), min_size=1, max_size=8
    ),
    delimiter=st.sampled_from(",;"),
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_lost_or_moved_between_rows(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerows([("path", "text"), *rows])
    (tmp_path / "t.csv").write_text(stream.getvalue(), encoding="utf-8", newline="")
    read = [row for row in rows_of(tmp_path / "t.csv", header=True) if isinstance(row, Row)]
    assert [(row.fields["path"], row.fields["text"]) for row in read] == [(p, t.strip()) for p, t in rows]


@given(content=st.text(st.sampled_from("ab.wav,;|\t\"\n\r 'spk0"), max_size=200), header=st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_is_rows_or_sentences(tmp_path: Path, content: str, header: bool) -> None:
    path = tmp_path / "t.csv"
    path.write_text(("path,text\n" if header else "") + content, encoding="utf-8", newline="")
    try:
        rows = list(rows_of(path, header=header))
    except CorpusError:
        return
    assert all(isinstance(row, Row | LostRow) and f"{path}, line " in row.where for row in rows)
