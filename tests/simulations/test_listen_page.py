"""The page to listen to: as it is generated of a tiny base, and as it lies in the repository."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_base import small_base
from small_recipe import small_recipe
from whistle import Whistle, whistled

from shared_models.audio.reading import Wave, read_audio
from shared_models.errors import CorpusError
from shared_models.watermark.detection import detect
from simulations.benchmarks.cloning_bases import find_bases
from simulations.benchmarks.cloning_material import Material, choose_material
from simulations.benchmarks.cloning_work import Clones
from simulations.corpora.embedded import ROOT
from simulations.reports import listen


class Page(HTMLParser):
    """What a page plays, and what it would load from elsewhere."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.folder = path.parent
        self.clips: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        if tag == "audio":
            self.clips.append((found["src"] or "", found["aria-label"] or ""))
        assert not any(value and "//" in value for value in found.values()), "the page needs no network"


def check(page: Page, is_marked: Callable[[Wave, int], bool]) -> None:
    """Every clip is there, can be heard, and is marked if FedVoice spoke it; nothing else lies beside them."""
    assert not page.tags & {"script", "link", "iframe", "img"}
    for file, words in page.clips:
        wave, rate = read_audio(page.folder / file)
        assert 0.3 < len(wave) / rate < 15
        assert is_marked(wave, rate) == (", real:" not in words), words
    names = {file for file, _ in page.clips}
    assert {f"clips/{path.name}" for path in (page.folder / "clips").iterdir()} == names
    assert len(names) == len(page.clips)
    assert sum((page.folder / name).stat().st_size for name in names) <= listen.LARGEST


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Clones], Material]:
    folder = tmp_path_factory.mktemp("listen")
    bases = [
        replace(base, voices=(), nobody=True)
        for base in find_bases([str(small_base(folder))], vocoders=["griffin_lim"])
    ]
    chosen = choose_material(
        ["embedded"], small_recipe().features, folder / "features", support=2, sentences=1, speakers=2
    )
    return folder, bases, chosen


def test_a_page_plays_four_ways_of_every_sentence(
    made: tuple[Path, list[Clones], Material], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "load_watermark", Whistle)
    folder, bases, material = made
    stale = folder / "page" / "clips" / "somebody-who-left.ogg"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    found = listen.write_page(folder / "page", bases, material, folder / "features")
    page = Page(found)
    check(page, whistled)
    ways = [words.split(", ")[1].split(":")[0] for _, words in page.clips]
    assert ways == 2 * ["before cloning", "zero-shot", "adapted", "real"]
    assert material.people[0].query[0].text in found.read_text(encoding="utf-8").replace("&#39;", "'")


def test_a_page_that_is_too_large_replaces_nothing(
    made: tuple[Path, list[Clones], Material], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, bases, material = made
    old = tmp_path / "clips" / "old.ogg"
    old.parent.mkdir()
    old.write_bytes(b"old")
    monkeypatch.setattr(listen, "LARGEST", 1000)
    one = Material(material.people[:1], ())
    with pytest.raises(CorpusError, match="fewer --speakers"):
        listen.write_page(tmp_path, bases, one, folder / "features")
    assert old.read_bytes() == b"old"
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("path", sorted(listen.FOLDER.glob("*.html")), ids=lambda path: path.name)
def test_a_page_in_the_repository_plays_synthetic_test_voices_alone(path: Path) -> None:
    check(Page(path), lambda wave, rate: detect(wave, rate).marked)
    shown = set(re.findall(r'<h2 id="voice-\d+">([^<]+)</h2>', path.read_text(encoding="utf-8")))
    table = (ROOT / "metadata.csv").read_text(encoding="utf-8").splitlines()
    unseen = {line.split(",")[1] for line in table if ",test," in line}
    assert len(shown) >= 2
    assert shown <= unseen
