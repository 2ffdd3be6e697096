"""The report holds everything, in words and in figures, and asks no network for anything."""

from __future__ import annotations

import base64
import html.parser
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_run import ARMS, SPEAKERS, fake_recipe, fake_results, fake_run, interval
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from shared_models.errors import CheckpointError
from simulations.reports import charts, figures, words
from simulations.reports.__main__ import main
from simulations.reports.media import MEL_RANGE, mel_picture
from simulations.reports.report import SPEAKERS_HEARD, write_report
from simulations.run_folder import RunFolder

VOID = {"meta", "img", "br", "line", "circle", "polyline", "path", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """The elements of a page; fails where they are not nested as they must be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = fake_run(tmp_path_factory.mktemp("report") / "run")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def text(finished: RunFolder) -> str:
    return finished.report_path.read_text(encoding="utf-8")


def test_nothing_is_fetched(text: str) -> None:
    assert not re.search(r"https?:|//[a-z]+\.", text)
    page = Page(text)
    for tag, attributes in page.elements:
        for name in ("src", "href", "poster", "action", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", text)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_part_is_there(text: str) -> None:
    page = Page(text)
    anchors = {attributes["href"] for attributes in page.all("a")}
    sections = {f"#{attributes['id']}" for attributes in page.all("section")}
    assert anchors == sections == {"#comparison", "#curves", "#privacy", "#listen", "#recipe", "#environment"}
    labels = [attributes.get("aria-label") or "" for attributes in page.all("svg")]
    similarity = next(label for label in labels if label.startswith("Speaker similarity"))
    assert "wrong 0.561" in similarity
    assert "same person, real 0.86" in text
    assert "different people, real 0.55" in text
    for start in ("Speaker similarity", "Training loss", "Validation loss", "ε spent"):
        assert sum(label.startswith(start) for label in labels) == 1, start
    for arm in ARMS:
        assert arm in text
    assert fake_recipe().digest in text
    assert "noise_multiplier" in text  # the resolved recipe
    assert "Griffin-Lim" in text  # the notes


def test_the_table_holds_means_and_intervals(text: str) -> None:
    for figure in (
        "0.741",
        "0.721–0.761",
        "0.604",
        "0.561",
        "8.30",
        "14.2%",
        "244",
        "22.7",
        "1.050",
        "7.0 MiB",
        "1 min 43 s",
    ):
        assert figure in text, figure


def test_the_ledger_names_unit_delta_mechanism_composition_and_both_cohorts(text: str) -> None:
    ledger = text[text.index('id="privacy"') : text.index('id="listen"')]
    for fact in (
        "person",
        "δ = 1e-5",
        "multiplier 0.92",
        "20 rounds",
        "probability 0.01",
        "1,000",
        "norm 0.5",
    ):
        assert fact in ledger, fact
    assert "larger federation" in ledger
    assert ledger.count('class="badge none-level">unprotected<') == 2  # centralised and federated, in red
    assert "Nothing is sent" in ledger


def test_sounds_play_and_pictures_show(text: str) -> None:
    page = Page(text)
    expected = SPEAKERS_HEARD * (1 + 2 * len(ARMS))
    sounds, pictures = page.all("audio"), page.all("img")
    assert len(sounds) == len(pictures) == expected
    for sound in sounds:
        wave, rate = soundfile.read(io.BytesIO(_content(sound["src"], "audio/ogg")))
        assert 0.7 < len(wave) / rate < 1.4
        assert np.abs(wave).max() > 0.05
        assert sound["aria-label"]
    for picture in pictures:
        assert Image.open(io.BytesIO(_content(picture["src"], "image/png"))).height == 80
        assert picture["alt"]


def test_the_recipes_text_cannot_become_markup(text: str) -> None:
    assert "alert(" in text
    assert "<script>alert" not in text


def test_the_way_to_the_corpus_stays_out_of_the_report(tmp_path: Path) -> None:
    recipe = fake_recipe().override({"corpus.path": "/disk/secret-place/my-speech"})
    run = RunFolder.create(tmp_path / "run", recipe)
    run.write_results({"recipe": "fake", "arms": {}, "anchors": {}, "notes": []})
    text = write_report(run).read_text()
    assert "my-speech" in text
    assert "secret-place" not in text


def test_missing_audio_is_said_and_not_fatal(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    shutil.rmtree(run.arm("local").audio)
    (run.path / "audio" / f"{SPEAKERS[0]}-real.wav").write_bytes(b"damaged")
    text = write_report(run).read_text()
    assert "no recording" in text
    assert len(Page(text).all("audio")) == SPEAKERS_HEARD * (1 + 2 * (len(ARMS) - 1)) - 1


def test_the_page_stays_small_however_long_the_recordings(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    noise = np.random.default_rng(1).normal(0, 0.2, 22050 * 40).astype(np.float32)
    for path in run.path.rglob("*.wav"):
        soundfile.write(path, noise, 22050)
    assert write_report(run).stat().st_size < 12 << 20


def test_audio_outside_of_the_run_is_refused(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    results = fake_results()
    results["arms"]["local"]["speakers"][0]["audio"]["after"] = "../../secret.wav"
    run.write_results(results)
    with pytest.raises(CheckpointError, match="outside of the run folder"):
        write_report(run)


def test_a_bare_run_makes_a_report_too(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", fake_recipe())
    run.write_results(
        {
            "recipe": "fake",
            "arms": {"federated": {"epsilon": None, "metrics": {"similarity_after": None}, "speakers": []}},
            "anchors": {},
            "notes": [],
        }
    )
    text = write_report(run).read_text()
    assert "measured no speaker similarity" in text
    assert Page(text).all("audio") == []


def test_without_results_there_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: RunFolder
) -> None:
    run = RunFolder.create(tmp_path / "run", fake_recipe())
    assert main([str(run.path)]) == 2
    assert "resume it" in capsys.readouterr().err
    assert main([str(finished.path)]) == 0
    assert capsys.readouterr().out.strip() == str(finished.report_path)


def test_the_headline_claims_no_more_than_the_intervals_hold() -> None:
    results = fake_results()
    metrics = results["arms"]["federated-dp"]["metrics"]
    sentences = words.headline(results, fake_recipe())
    assert "come closer to the real ones" in sentences[0]
    assert "ε = 8.00 at δ = 1e-5 per person" in sentences[1]
    assert "above the wrong-speaker baseline" in sentences[2]
    assert "0.044 below training on pooled recordings" in sentences[2]

    metrics["similarity_after"] = interval(metrics["similarity_before"]["mean"] + 0.01, 0.05)
    sentences = words.headline(results, fake_recipe())
    assert "within the uncertainty" in sentences[0]
    assert "not clearly above" in sentences[2]

    metrics["similarity_after"] = interval(0.4, 0.01)
    sentences = words.headline(results, fake_recipe())
    assert "no closer" in sentences[0]
    assert "below the wrong-speaker baseline" in sentences[2]


def test_the_terminal_table_fits_on_80_characters_whole() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(figures.results_table(fake_results()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    for figure in (*ARMS, "0.721–0.761", "8.00", "unprotected", "14.2%", "wrong speaker"):
        assert figure in text, figure
    assert max(len(line) for line in text.splitlines()) <= 80


@given(
    low=st.floats(-1e6, 1e6),
    span=st.one_of(st.just(0.0), st.floats(1e-6, 1e6)),
)
def test_ticks_enclose_what_they_measure(low: float, span: float) -> None:
    high = low + span
    found = charts.ticks(low, high)
    tolerance = 1e-6 * max(abs(low), abs(high), span, 1e-9)
    assert found[0] <= low + tolerance
    assert found[-1] >= high - tolerance
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))


def test_a_curve_of_one_round_can_be_drawn() -> None:
    drawn = charts.line_chart("Loss", [charts.Series("a", 0, ((1, 0.5),)), charts.Series("b", 1, ())])
    assert "a ends at 0.5" in drawn
    assert "nan" not in drawn.lower()


def test_mel_pictures_have_low_bands_at_the_bottom_and_one_scale() -> None:
    mel = np.full((30, 80), MEL_RANGE[0] - 5, dtype=np.float32)
    mel[:, :10] = MEL_RANGE[1] + 5
    picture = np.asarray(Image.open(io.BytesIO(mel_picture(mel))).convert("L"))
    assert picture.shape == (80, 30)
    assert picture[-10:].min() > 200
    assert picture[:70].max() < 30


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "–"),
        (3.2, "3.2 s"),
        (48, "48 s"),
        (200, "3 min 20 s"),
        (59.7, "1 min 00 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float | None, written: str) -> None:
    assert figures.write_duration(seconds) == written


def _content(uri: str | None, kind: str) -> bytes:
    start = f"data:{kind};base64,"
    assert uri is not None
    assert uri.startswith(start)
    return base64.b64decode(uri.removeprefix(start))
