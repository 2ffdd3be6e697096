"""Every class of written English, held against what a native reader says; the whole list of our own beside it."""

from __future__ import annotations

import time

import pytest

from shared_models.text.normalisation import normalise_english
from simulations.benchmarks.normaliser import LISTS, read_list, score

KINDS: dict[str, list[tuple[str, str]]] = {
    "units": [
        ("It runs at 3 GHz.", "it runs at three gigahertz."),
        ("a 50 Hz hum at 70 dB", "a fifty hertz hum at seventy decibels"),
        ("The file is 100 MB.", "the file is one hundred megabytes."),
        ("about 220 V here", "about two hundred twenty volts here"),
        ("another 5 Km to go", "another five kilometers to go"),
        ("only 1 kg or 1 lb left", "only one kilogram or one pound left"),
        ("wait 1 min, then 10 secs", "wait one minute, then ten seconds"),
        ("it used 5 kWh today", "it used five kilowatt hours today"),
        ("at 5 m/s", "at five meters per second"),
        ("a room of 10 m²", "a room of ten square meters"),
        ("take 5 µg daily, 10 μm thick", "take five micrograms daily, ten micrometers thick"),
        ("at 20 ºC or 68 °F", "at twenty degrees celsius or sixty eight degrees fahrenheit"),
        ("about 5 hrs or 1 hr", "about five hours or one hour"),
        ("½ tsp and 1½ lbs", "one half teaspoon and one and a half pounds"),
        ("a 5-km run at −3 °C", "a five kilometer run at minus three degrees celsius"),
        ("an iPhone 5s in Room 5A", "an iphone five s in room five A"),
    ],
    "fractions": [
        ("add ⅓ cup", "add one third cup"),
        ("add 2⅔ cups", "add two and two thirds cups"),
        ("⅛ of it, ⅞ full", "one eighth of it, seven eighths full"),
        ("1⅕ miles", "one and a fifth miles"),
    ],
    "money": [
        ("He paid US$20.", "he paid twenty U S dollars."),
        ("It was A$20, HK$9.", "it was twenty australian dollars, nine hong kong dollars."),
        ("It cost ₹500 or ₩1000.", "it cost five hundred rupees or one thousand won."),
        ("only 50¢ each", "only fifty cents each"),
        ("a $10-20 ticket", "a ten to twenty dollar ticket"),
        ("from $10–$20 each", "from ten to twenty dollars each"),
        ("$2.5-3 million", "two point five to three million dollars"),
        ("20 EUR or EUR 5.50", "twenty euros or five euros fifty cents"),
    ],
    "telephones, addresses, versions": [
        ("Call 555-0134 now.", "call five five five, zero one three four now."),
        ("Call 1-800-555-0199.", "call one, eight hundred, five five five, zero one nine nine."),
        ("Call (555) 123-4567.", "call five five five, one two three, four five six seven."),
        ("ping 192.168.0.1 first", "ping one nine two point one six eight point zero point one first"),
        ("Version 2.10.3 is out.", "version two point ten point three is out."),
        ("dial 9-1-1", "dial nine, one, one"),
        ("10-12 people called 911", "ten to twelve people called nine one one"),
    ],
    "Roman numerals": [
        ("World War I ended.", "world war one ended."),
        ("King George V spoke.", "king george the fifth spoke."),
        ("Part V begins. Part I begins.", "part five begins. part one begins."),
        ("Copyright MCMXCIV by us", "copyright nineteen ninety four by us"),
        ("Chapter Ⅳ begins.", "chapter four begins."),
        ("in the XIX century", "in the nineteenth century"),
        ("Malcolm X spoke. I am here.", "malcolm X spoke. i am here."),
        ("my CV, an IV drip", "my C V, an I V drip"),
        ("a note in the pages in question", "a note in the pages in question"),
    ],
    "letters": [
        ("Use AT&T and TCP/IP here.", "use A T and T and T C P I P here."),
        ("He has a Ph.D. in art.", "he has a P H D in art."),
        ("He has a PhD in art.", "he has a P H D in art."),
        ("Vitamin A is good.", "vitamin A is good."),
        ("Plan A or plan B.", "plan A or plan B."),
        ("Section A and B", "section A and B"),
        ("A plan. What a day! AND I LEFT IT", "a plan. what a day! and i left I T"),
    ],
    "dates and times": [
        ("from 1939–45, in 1066", "from nineteen thirty nine to forty five, in ten sixty six"),
        ("14 July 1789, Mon, 2 June", "the fourteenth of july seventeen eighty nine, monday, the second of june"),
        ("31.12.1999", "december thirty first, nineteen ninety nine"),
        ("3/15/2021", "march fifteenth, twenty twenty one"),
        ("9am-5pm, 10:30:15", "nine A M to five P M, ten thirty and fifteen seconds"),
        ("a 16:9 screen at 14:00 GMT", "a sixteen to nine screen at fourteen hundred G M T"),
    ],
    "lists": [
        ("scores 98,99,100", "scores ninety eight, ninety nine, one hundred"),
        ("lots 5,100,25 sold", "lots five, one hundred, twenty five sold"),
        ("1,234,567", "one million two hundred thirty four thousand five hundred sixty seven"),
        ("100 200 300", "one hundred two hundred three hundred"),
    ],
    "mathematics, the web, tags": [
        ("x² + 10⁻⁶ ≤ √9", "x squared plus ten to the minus six less than or equal to the square root of nine"),
        ("mail jo@site.co.uk about notes.pdf", "mail jo at site dot co dot U K about notes dot P D F"),
        ("#GoodVibesOnly @museum C#", "hashtag good vibes only at museum C sharp"),
        ("−5 is 3 - 8 = -5", "minus five is three minus eight equals minus five"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_is_read_as_a_native_reader_reads_it(kind: str) -> None:
    wrong = {
        written: (normalise_english(written), right)
        for written, right in KINDS[kind]
        if normalise_english(written) != right
    }
    assert not wrong


def test_the_day_comes_first_outside_of_the_united_states() -> None:
    assert normalise_english("on 5/6/2024") == "on may sixth, twenty twenty four"
    assert normalise_english("on 5/6/2024", day_first=True) == "on the fifth of june, twenty twenty four"
    assert normalise_english("2024-06-05", day_first=True) == "the fifth of june, twenty twenty four"


def test_the_list_of_our_own_is_read_right() -> None:
    found = score(read_list(LISTS["en"]), "en")
    assert len(found.lines) >= 300
    assert found.right >= 0.97 * len(found.lines), found.misses


@pytest.mark.parametrize("unit", ["1", "1-", "1.", "$1", "a@b.", "1/", "A ", "5 m ", '5" '])
def test_the_cost_of_a_text_is_bounded(unit: str) -> None:
    """Four thousand characters of what rules look for; a rule that looks back again and again takes minutes."""
    text = unit * (4000 // len(unit))
    started = time.process_time()
    assert normalise_english(text)
    assert time.process_time() - started < 10
