"""Numbers in words: English and Mandarin."""

from __future__ import annotations

_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
LARGEST = 10**15 - 1
"""Longer numbers are read digit by digit."""

_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_HAN_DIGITS = "零一二三四五六七八九"


def digits(text: str) -> str:
    """``"407"`` as "four zero seven"."""
    return " ".join(_SMALL[int(d)] for d in text)


def cardinal(number: int) -> str:
    """``1234`` as "one thousand two hundred thirty four"; negative numbers with "minus"."""
    if number < 0:
        return "minus " + cardinal(-number)
    if number > LARGEST:
        return digits(str(number))
    for size, name in _SCALES:
        if number >= size:
            return _joined(f"{cardinal(number // size)} {name}", number % size)
    if number >= 100:
        return _joined(f"{_SMALL[number // 100]} hundred", number % 100)
    if number >= 20:
        return _joined(_TENS[number // 10], number % 10)
    return _SMALL[number]


def ordinal(number: int) -> str:
    """``21`` as "twenty first"."""
    *before, last = cardinal(number).split()
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    else:
        last = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    return " ".join([*before, last])


def year(number: int) -> str:
    """``1873`` as "eighteen seventy three", ``1905`` as "nineteen oh five", ``2007`` as a number."""
    century, rest = divmod(number, 100)
    if not 11 <= century <= 99 or (century % 10 == 0 and rest < 10):
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def decimal(text: str) -> str:
    """``"1,234.50"`` as words; a number with a leading zero, or too long, digit by digit."""
    whole, _, fraction = text.replace(",", "").partition(".")
    if len(whole) > 15 or (len(whole) > 1 and whole.startswith("0")):
        words = digits(whole)
    else:
        words = cardinal(int(whole or "0"))
    return f"{words} point {digits(fraction)}" if fraction else words


def plural(words: str) -> str:
    """The plural of number words: "twenties", "sixes", "hundreds"."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")


def han_digits(text: str) -> str:
    """``"2024"`` as 二零二四."""
    return "".join(_HAN_DIGITS[int(d)] for d in text)


def han_cardinal(number: int) -> str:
    """``10203`` as 一万零二百零三; 两 for two before 百, 千, 万 and 亿."""
    if number < 0:
        return "负" + han_cardinal(-number)
    if number > LARGEST:
        return han_digits(str(number))
    if number == 0:
        return "零"
    words = _han_large(number)
    return words[1:] if words.startswith("一十") else words


def han_decimal(text: str) -> str:
    """``"3.14"`` as 三点一四."""
    whole, _, fraction = text.replace(",", "").partition(".")
    long = len(whole) > 15 or (len(whole) > 1 and whole.startswith("0"))
    words = han_digits(whole) if long else han_cardinal(int(whole or "0"))
    return f"{words}点{han_digits(fraction)}" if fraction else words


def _joined(words: str, rest: int) -> str:
    return f"{words} {cardinal(rest)}" if rest else words


def _han_large(number: int) -> str:
    for size, name in ((10**12, "万亿"), (10**8, "亿"), (10**4, "万")):
        if number >= size:
            above, rest = divmod(number, size)
            head = ("两" if above == 2 else _han_large(above)) + name
            if not rest:
                return head
            return head + ("零" if rest < size // 10 else "") + _han_large(rest)
    return _han_small(number)


def _han_small(number: int) -> str:
    words, gap = "", False
    for size, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, size)
        if digit == 0:
            gap = bool(words)
            continue
        character = "两" if digit == 2 and size >= 100 else _HAN_DIGITS[digit]
        words += ("零" if gap else "") + character + name
        gap = False
    return words
