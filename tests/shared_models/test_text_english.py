"""English text: what is read aloud, and the phones of it, held against values worked out by hand."""

from __future__ import annotations

import pytest

from shared_models.errors import TextError
from shared_models.text.normalisation import normalise_english
from shared_models.text.numbers import cardinal, ordinal, year
from shared_models.text.phonemes import encode, phonemize, words
from shared_models.text.symbols import SYMBOL_IDS, SYMBOLS, VOCABULARY_SIZE


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        (
            "In 1873, Dr. Smith paid $3.50 for the 2nd book.",
            "in eighteen seventy three, doctor smith paid three dollars fifty cents for the second book.",
        ),
        ("At 10:30, 7:00 and 7:05 p.m.", "at ten thirty, seven o'clock and seven oh five P M"),
        ("It cost £20, €1 or $5 million.", "it cost twenty pounds, one euro or five million dollars."),
        (
            "12,345.67 is not -8",
            "twelve thousand three hundred forty five point six seven is not minus eight",
        ),
        (
            "On January 3, 1905 and 2020-12-05",
            "on january third, nineteen oh five and december fifth, twenty twenty",
        ),
        ("the 1990s and the '80s", "the nineteen nineties and the eighties"),
        ("1/2, 3/4 and 2 1/2", "one half, three quarters and two and a half"),
        ("5 km at 20% & 3°", "five kilometers at twenty percent and three degrees"),
        ("e.g. Mr. & Mrs. Lee vs. St. Paul", "for example mister and missus lee versus saint paul"),
        ("Henry VIII, Chapter IV", "henry the eighth, chapter four"),
        ("The FBI and the US met NASA.", "the F B I and the U S met nasa."),
        ("I said NO!", "i said no!"),
        ("Wait... what?! (really); yes: no — ok", "wait. what? really, yes, no, ok"),
        ("“Don’t” ‘go’ — café naïve", "don't 'go', cafe naive"),
        ("see https://www.example.org/page?x=1 now", "see example dot org slash page now"),
        ("J. K. Rowling", "J K rowling"),
        ("code 007", "code zero zero seven"),
        ("👍 fine 🎉", "fine"),
    ],
)
def test_written_text_is_said_in_words(written: str, spoken: str) -> None:
    assert normalise_english(written) == spoken


def test_a_transcript_in_capitals_is_words_not_acronyms() -> None:
    text = "THE US LEFT IT AND HE SAID A B C TO ME"
    assert phonemize(text) == phonemize(text.lower())


def test_numbers_in_words() -> None:
    assert cardinal(1_000_007) == "one million seven"
    assert cardinal(-419) == "minus four hundred nineteen"
    assert [ordinal(n) for n in (1, 12, 20, 33, 100)] == [
        "first", "twelfth", "twentieth", "thirty third", "one hundredth",
    ]  # fmt: skip
    assert [year(n) for n in (1066, 1700, 1905, 2000, 2007, 2024)] == [
        "one thousand sixty six", "seventeen hundred", "nineteen oh five", "two thousand",
        "two thousand seven", "twenty twenty four",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("Hello, you.", "h ɛ l ˈoʊ , j ˈu ."),
        ("The apple and the judge", "ð i ˈæ p ə l ˈæ n d ð ə d͡ʒ ˈʌ d͡ʒ"),
        ("thirty boys?", "θ ˈɚ t i b ˈɔɪ z ?"),
        ("Ross's dog's", "ɹ ˈɔ s ɪ z d ˈɔ ɡ z"),
        ("the UK", "ð ə j ˈu k ˈeɪ"),
        ("shh", "ʃ"),
    ],
)
def test_phones_by_hand(text: str, phones: str) -> None:
    assert phonemize(text) == ["sil", *phones.split(), "sil"]


def test_homographs_follow_their_part_of_speech() -> None:
    noun, verb = phonemize("the record"), phonemize("they will record it")
    assert "ɹ ˈɛ k ɚ d" in " ".join(noun)
    assert "ɹ ɪ k ˈɔ ɹ d" in " ".join(verb)
    assert "ɹ ˈɛ d" in " ".join(phonemize("he had read the book"))
    assert "ɹ ˈi d" in " ".join(phonemize("he will read the book"))


def test_ordinary_sentences_sound_as_in_gruut() -> None:
    """The same dictionary through gruut's own pipeline, a word at a time."""
    import gruut

    text = "she sells seven small wooden boats near every river in winter"
    expected = [p for s in gruut.sentences(text, lang="en-us") for word in s for p in word.phonemes or []]
    assert phonemize(text)[1:-1] == expected


def test_unknown_words_are_guessed() -> None:
    assert len(phonemize("blorptastic")) > 6


@pytest.mark.parametrize("text", ["", "   ", "👍👍", "...", "\x00"])
def test_nothing_to_say_is_one_sentence(text: str) -> None:
    with pytest.raises(TextError) as raised:
        phonemize(text)
    assert "\n" not in str(raised.value)


def test_symbols_are_distinct_and_padding_is_zero() -> None:
    assert len(set(SYMBOLS)) == len(SYMBOLS) == VOCABULARY_SIZE
    assert SYMBOLS[0] == "_"
    assert not any(symbol.isspace() or symbol != symbol.strip() for symbol in SYMBOLS)
    assert encode(["sil", "ˈoʊ", "sil"]).tolist() == [SYMBOL_IDS["sil"], SYMBOL_IDS["ˈoʊ"], SYMBOL_IDS["sil"]]
    with pytest.raises(TextError, match="not a phoneme"):
        encode(["sil", "nonsense"])


def test_words_are_the_phones_of_a_text_divided() -> None:
    text = "The old man, who read the apples' names, left."
    divided = words(text)
    assert [phone for word in divided for phone in word] == phonemize(text)[1:-1]
    assert divided[0] == ("ð", "i"), "before a vowel"
    assert divided[3] == (",",)
    assert divided[-1] == (".",)
    assert len(divided) == 12
    with pytest.raises(TextError, match="can be said"):
        words("...")
