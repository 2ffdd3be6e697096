"""Cheap synthetic speakers with exact phoneme times, by espeak-ng (the optional extra ``espeak``).

A speaker is a voice variant; pitch and pace vary within a speaker, because they do not make a new one: a
speaker verifier tells variants apart, but not one variant at three pitches. Beyond the number of variants
speakers are variants again at another pitch, which is enough to measure speed and memory, not similarity.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.home.recordings import TABLE_NAME
from shared_models.audio.alignment import Phone, write_phones
from shared_models.audio.reading import write_audio
from shared_models.errors import CorpusError
from shared_models.text.espeak_library import Espeak, Sound, Speech, load_espeak
from shared_models.text.espeak_phones import to_symbols
from shared_models.text.symbols import SILENCE
from simulations.corpora.limits import spread
from simulations.corpora.sentences import make_sentences
from simulations.corpora.splits import HELD_OUT, SUPPORT

COLUMNS = ("utterance_id", "speaker_id", "split", "role", "seconds", "text", "path", "alignment")

VARIANTS = (
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt", "klatt2",
    "klatt3", "klatt4", "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique",
    "Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Reed", "Storm", "adam", "anika",
    "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "grandma", "grandpa", "ian",
    "john", "linda", "max", "quincy", "rob", "robert", "shelby", "steph", "travis", "victor", "zac",
)  # fmt: skip
"""Variants that sound like speech: no whisper, croak or robot."""
LANGUAGE = "en-us"
_PAUSES = {",": ",", ";": ",", ":": ",", ".": ".", "!": "!", "?": "?"}


@dataclass(frozen=True, slots=True)
class Speaker:
    """A synthetic speaker: a variant of the espeak-ng voice and the middle of its pitch and pace."""

    speaker_id: str
    variant: str
    pitch: int
    words_per_minute: int
    test: bool


def make_speakers(count: int) -> list[Speaker]:
    """``count`` speakers; variants of test speakers (a tenth, at least 2 of 6) are in no train speaker."""
    if count < 1:
        raise CorpusError(f"{count} speakers cannot be made; ask for at least 1")
    variants = VARIANTS[:count]
    fewest = 2 if len(variants) >= 6 else int(len(variants) >= 3)
    test = set(spread(variants, max(fewest, round(HELD_OUT * len(variants)))))
    speakers = []
    for index in range(count):
        again, place = divmod(index, len(variants))
        variant = variants[place]
        name = f"espeak_{variant.lower()}" + (f"_{again}" if again else "")
        pitch, pace = 50 + (0, -14, 14, -26, 26)[again % 5], 165 + (0, 15, -15, 30, -25)[again // 5 % 5]
        speakers.append(Speaker(name, variant, pitch, pace, variant in test))
    return speakers


def make_corpus(
    target: Path,
    speakers: int,
    utterances: int,
    *,
    seed: int = 0,
    suffix: str = ".flac",
    sentences: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write audio at 22,050 Hz, ``.phones`` and ``metadata.csv`` under ``target``; return the table.

    Every speaker says the same first five sentences, and then sentences of their own. In a new process
    the same ``seed`` gives the same texts and times; espeak-ng's noise is its own. Raises
    :class:`MissingExtraError` without espeak-ng, :class:`CorpusError` for a target that is in use.
    """
    library = load_espeak()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CorpusError(f"{target} is there already and is not an empty folder; choose another one")
    texts = list(sentences or make_sentences(SUPPORT + speakers * max(0, utterances - SUPPORT), seed))
    rows: list[tuple[str, ...]] = []
    for index, speaker in enumerate(make_speakers(speakers)):
        source = random.Random(f"{seed} {speaker.speaker_id}")
        own = max(0, utterances - SUPPORT)
        places = [
            *range(min(SUPPORT, utterances)),
            *range(SUPPORT + index * own, SUPPORT + (index + 1) * own),
        ]
        for number, place in enumerate(places):
            text = texts[place % len(texts)]
            rows.append(_record(library, target, speaker, number, text, source, suffix))
        if progress:
            progress(index + 1, speakers)
    table = target / TABLE_NAME
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return table


def phones_of(speech: Speech, text: str) -> list[Phone]:
    """The phones of ``speech`` with their times, from 0 to the end of the audio, without gaps.

    A pause at a punctuation mark carries the mark's symbol. A phoneme of several symbols (``aɪɚ``) shares
    its time out among them.
    """
    seconds = len(speech.samples) / speech.rate
    ends = [sound.start for sound in speech.sounds[1:]] + [seconds]
    phones: list[Phone] = []
    for sound, sounded_until in zip(speech.sounds, ends, strict=True):
        end = min(sounded_until, seconds)
        symbols = to_symbols(sound.ipa, english=True) if sound.ipa else (_pause(sound, text),)
        start = phones[-1].end if phones else 0.0
        if not sound.ipa and phones and phones[-1].symbol == symbols[0]:
            phones[-1] = Phone(phones[-1].start, end, symbols[0])
            continue
        bounds = np.linspace(start, max(start, end), len(symbols) + 1).tolist()
        phones += [Phone(a, b, s) for a, b, s in zip(bounds, bounds[1:], symbols, strict=False)]
    return _ending(phones, seconds)


def _pause(sound: Sound, text: str) -> str:
    said = text[: sound.position].rstrip()
    return _PAUSES.get(said[-1:], SILENCE)


def _ending(phones: list[Phone], seconds: float) -> list[Phone]:
    """The last pause is silence; its mark stays before it, without a duration."""
    start = phones[-1].end if phones else 0.0
    if phones and phones[-1].symbol in _PAUSES:
        mark = phones.pop()
        start = mark.start
        phones.append(Phone(start, start, mark.symbol))
    elif phones and phones[-1].symbol == SILENCE:
        start = phones.pop().start
    return [Phone(0.0, 0.0, SILENCE), *phones, Phone(start, seconds, SILENCE)]


def _record(
    library: Espeak,
    target: Path,
    speaker: Speaker,
    number: int,
    text: str,
    source: random.Random,
    suffix: str,
) -> tuple[str, ...]:
    name = f"{speaker.speaker_id}_{number:04d}"
    speech = library.speak(
        text,
        f"{LANGUAGE}+{speaker.variant}",
        pitch=min(99, max(0, speaker.pitch + source.randint(-6, 6))),
        words_per_minute=round(speaker.words_per_minute * source.uniform(0.92, 1.08)),
    )
    audio = Path(speaker.speaker_id) / (name + suffix)
    aligned = audio.with_suffix(".phones")
    (target / audio).parent.mkdir(parents=True, exist_ok=True)
    write_audio(target / audio, speech.samples.astype(np.float32) / np.float32(32768), speech.rate)
    write_phones(target / aligned, phones_of(speech, text))
    role = ("support" if number < SUPPORT else "query") if speaker.test else "train"
    seconds = f"{len(speech.samples) / speech.rate:.3f}"
    split = "test" if speaker.test else "train"
    return name, speaker.speaker_id, split, role, seconds, text, audio.as_posix(), aligned.as_posix()
