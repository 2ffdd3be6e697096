"""``python -m simulations.reports.listen``: a page on which anybody can hear what cloning does, without a network.

It holds clips of unseen *synthetic* voices and their clones: speech of people is not for giving away. Whatever FedVoice
spoke carries the mark.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import soundfile

from shared_models.audio.mel import SAMPLE_RATE
from shared_models.audio.reading import Wave, resample
from shared_models.console import print_error
from shared_models.errors import CorpusError, FedVoiceError
from shared_models.file_names import file_name_of
from shared_models.files import write_atomically
from shared_models.watermark.perth import load_watermark
from simulations.benchmarks.cloning_bases import find_bases
from simulations.benchmarks.cloning_material import Material, Person, choose_material
from simulations.benchmarks.cloning_work import ADAPTED, BEFORE, REAL, ZERO_SHOT, Clones, Recordings, Setting
from simulations.evaluation.unseen_speakers import Clip
from simulations.preparation import default_cache

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "listen"
LARGEST = 1_500_000
"""Bytes of all clips together."""
_TEMPLATE = Path(__file__).with_name("listen.html")
_RATE = 24_000
"""Hertz: of what Opus takes, the nearest to what is spoken."""
_SMALL = 0.9
"""libsndfile's compression level for some 33 kbit/s."""
_WORDS = {
    BEFORE: "before cloning: the base, told nothing about the speaker",
    ZERO_SHOT: "zero-shot: the base has heard the recordings",
    ADAPTED: "adapted: it has also trained on them",
    REAL: "real: the voice itself",
}
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Take:
    """One clip on the page."""

    words: str
    file: str
    """Relative to the page."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One sentence of one voice, all ways of it."""

    text: str
    takes: tuple[Take, ...]


def write_page(
    folder: Path, bases: Sequence[Clones], material: Material, cache: Path, tell: Progress = lambda _: None
) -> Path:
    """Write ``index.html`` and its clips into ``folder``, in place of an older page's clips; the page's path.

    Raises :class:`CorpusError` where the clips would be larger than :data:`LARGEST`, before anything is replaced.
    """
    files: dict[str, bytes] = {}
    voices = []
    for person in material.people:
        tell(person.name)
        scenes = list(_scenes(person, bases, Setting(bases[0].recipe, cache, folder, "cpu"), files))
        voices.append((person.name, scenes))
    size = sum(map(len, files.values()))
    if size > LARGEST:
        raise CorpusError(
            f"{len(files)} clips take {size:,} bytes, and a page may have {LARGEST:,}: give fewer --speakers or "
            "--sentences"
        )
    for old in folder.glob("clips/*.ogg"):
        old.unlink()
    for name, data in files.items():
        write_atomically(folder / name, data)
    page = folder / "index.html"
    support = len(material.people[0].support)
    write_atomically(page, _render(voices=voices, bases=[base.name for base in bases], support=support))
    for path in (folder, folder / "clips", page, *(folder / name for name in files)):
        path.chmod(0o755 if path.is_dir() else 0o644)  # a page is for everybody, unlike what a device keeps
    return page


def _scenes(
    person: Person, bases: Sequence[Clones], setting: Setting, files: dict[str, bytes]
) -> Iterator[Scene]:
    """Scenes of one voice, whose clips are added to ``files`` by name."""
    made: list[tuple[str, Sequence[Clip], bool]] = []
    for base in bases:
        spoken = base.clips(person, setting)
        label = f"{base.name}, " if len(bases) > 1 else ""
        made += [(label + _WORDS[way], spoken[way], True) for way in (BEFORE, ZERO_SHOT, ADAPTED)]
    made.append((_WORDS[REAL], Recordings().clips(person, setting)[REAL], False))
    for number, utterance in enumerate(person.query):
        takes = []
        for way, (words, clips, marked) in enumerate(made):
            name = f"clips/{file_name_of(person.name)}-{number + 1}-{way + 1}.ogg"
            files[name] = _opus(clips[number].wave, marked)
            takes.append(Take(words, name))
        yield Scene(utterance.text, tuple(takes))


def _opus(wave: Wave, marked: bool) -> bytes:
    """An Ogg Opus file of ``wave (samples,)`` at 22,050 Hz, with the mark in it or without."""
    sound = load_watermark().mark(wave, SAMPLE_RATE) if marked else wave
    buffer = io.BytesIO()
    heard = np.clip(resample(sound, SAMPLE_RATE, _RATE), -1.0, 1.0)
    soundfile.write(buffer, heard, _RATE, format="OGG", subtype="OPUS", compression_level=_SMALL)
    return buffer.getvalue()


def _render(**content: Any) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return page.render(**content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from a shell; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m simulations.reports.listen", description=__doc__)
    parser.add_argument(
        "--corpus", default="embedded", help="a corpus of synthetic voices; its clips are given away"
    )
    parser.add_argument(
        "--base", action="append", help="packaged (the default), a run folder or a checkpoint; repeatable"
    )
    parser.add_argument("--vocoder", action="append", help="one for all bases, or one for each")
    parser.add_argument("--speakers", type=int, default=4)
    parser.add_argument("--sentences", type=int, default=2)
    parser.add_argument("--support", type=int, default=5, help="recordings to clone from")
    parser.add_argument("--output", type=Path, default=FOLDER)
    chosen = parser.parse_args(arguments)
    try:
        bases = [
            replace(base, voices=(), nobody=True)
            for base in find_bases(chosen.base or ["packaged"], vocoders=chosen.vocoder)
        ]
        material = choose_material(
            [chosen.corpus], bases[0].recipe.features, default_cache(),
            support=chosen.support, sentences=chosen.sentences, speakers=chosen.speakers,
        )  # fmt: skip
        page = write_page(
            chosen.output, bases, material, default_cache(), lambda name: print(name, file=sys.stderr)
        )
    except FedVoiceError as error:
        print_error(str(error))
        return error.exit_code
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
