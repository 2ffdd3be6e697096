"""Speaking a text of any length: where it is cut, that nothing is lost, and that it can be heard as it is made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_federation import shaken, tiny_model, tiny_recipe
from torch import Tensor

from client.cloning import voice_of_nobody
from client.speaking import LONGEST_PIECE, SENTENCE_PAUSE, speak, speak_piecewise, split_text, warm_up
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.errors import TextError
from shared_models.text import english
from shared_models.text.phonemes import encode, phonemize

WORDS = st.text(alphabet="abcdefgh'", min_size=1, max_size=12)
MARKS = st.sampled_from(["", "", "", ",", ";", ".", "!", "?", " —"])


@given(st.lists(st.tuples(WORDS, MARKS), min_size=1, max_size=120))
def test_no_word_is_lost_or_moved_and_no_piece_is_long(said: list[tuple[str, str]]) -> None:
    text = " ".join(word + mark for word, mark in said)
    pieces = split_text(text)
    assert " ".join(piece.text for piece in pieces).split() == text.split()
    assert all(len(piece.text) <= LONGEST_PIECE for piece in pieces)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It cost $3.50 at 4.30 p.m. today.", ["It cost $3.50 at 4.30 p.m. today."]),
        ("Dr. Smith met Mr. J. R. Jones. They left.", ["Dr. Smith met Mr. J. R. Jones.", "They left."]),
        ("St. Paul vs. No. 5, e.g. this.", ["St. Paul vs. No. 5, e.g. this."]),
        ("A line\nand another", ["A line", "and another"]),
        ("你好。我很好！", ["你好。", "我很好！"]),
        ('He said "Stop!" Then he left.', ['He said "Stop!" Then he left.']),
    ],
)
def test_sentences_end_where_a_reader_says(text: str, pieces: list[str]) -> None:
    assert [piece.text for piece in split_text(text)] == pieces


def test_a_long_sentence_is_cut_at_clauses_first() -> None:
    clause = "and the river ran on past the mill and the meadow"
    pieces = split_text(", ".join([clause] * 8) + ".")
    assert len(pieces) > 2
    assert all(piece.text.endswith((",", ".")) for piece in pieces)
    assert [piece.pause for piece in pieces][-1] == SENTENCE_PAUSE
    assert all(piece.pause < SENTENCE_PAUSE for piece in pieces[:-1])


def test_what_fits_between_cuts_is_joined_and_a_longer_word_stands_alone() -> None:
    long_word = "b" * (LONGEST_PIECE + 5)
    pieces = [piece.text for piece in split_text(f"one, two, {long_word} three, four.")]
    assert pieces == ["one, two,", long_word, "three, four."]


class Ramp:
    """A vocoder that says which frame a sample came from."""

    def __call__(self, mel: Tensor) -> Tensor:
        return torch.arange(mel.shape[-2] * HOP) / 1e6


@settings(max_examples=5)
@given(st.integers(1, 4))
def test_pieces_add_up_to_the_whole(count: int) -> None:
    model = shaken(tiny_model(tiny_recipe(aligner__learn="never")))
    voice = voice_of_nobody(model)
    text = " ".join(["Good morning to you."] * count) + " ..."
    spoken = list(speak_piecewise(model.model, Ramp(), voice, text))
    told: list[tuple[int, int]] = []
    whole = speak(model.model, Ramp(), voice, text, on_piece=lambda *now: told.append(now))
    assert np.array_equal(whole, np.concatenate([piece.wave for piece in spoken]))
    assert told == [(number, count) for number in range(1, count + 1)]
    pause = int(SENTENCE_PAUSE * SAMPLE_RATE)
    for piece in spoken[:-1]:
        assert not piece.wave[-pause:].any()
    assert spoken[-1].wave[-1] > 0


@pytest.mark.parametrize("contrast", [0.0, 0.3])
def test_formants_are_raised_as_much_as_the_base_asks_for(contrast: float) -> None:
    model = shaken(tiny_model(tiny_recipe(aligner__learn="never", model__contrast=contrast)))
    voice, heard = voice_of_nobody(model), []

    def vocoder(mel: Tensor) -> Tensor:
        heard.append(mel)
        return Ramp()(mel)

    speak(model.model, vocoder, voice, "Good morning.")
    phonemes = encode(phonemize("Good morning."))[None]
    with torch.no_grad():
        mel, _ = model.model.synthesize(phonemes, torch.tensor([phonemes.shape[1]]), voice)
    smooth = torch.nn.functional.avg_pool1d(torch.nn.functional.avg_pool1d(mel[0], 3, 1), 3, 1)
    raised = mel[0][:, 2:-2] + contrast * (mel[0][:, 2:-2] - smooth)
    torch.testing.assert_close(heard[0][:, 2:-2], raised, rtol=1e-4, atol=1e-4)


def test_nothing_to_say_is_an_error() -> None:
    model = tiny_model(tiny_recipe(aligner__learn="never"))
    with pytest.raises(TextError, match="nothing to say"):
        speak(model.model, Ramp(), voice_of_nobody(model), " ... \n — ")


def test_nothing_is_left_to_load_after_warming_up() -> None:
    loaded = (english._lexicon, english._tagger, english._grapheme_model)
    # A sentence that was read before, in another test, needs nothing any more.
    english.word_phones.cache_clear()
    for load in loaded:
        load.cache_clear()
    model = tiny_model(tiny_recipe(aligner__learn="never"))
    warm_up(model.model, Ramp(), voice_of_nobody(model))
    assert [load.cache_info().currsize for load in loaded] == [1, 1, 1]
    speak(model.model, Ramp(), voice_of_nobody(model), "They record a frobnak.")
    assert [load.cache_info().misses for load in loaded] == [1, 1, 1]
    warm_up(model.model, Ramp(), voice_of_nobody(model), language="zh")
    with pytest.raises(TextError):
        warm_up(model.model, Ramp(), voice_of_nobody(model), language="tlh-klingon")
