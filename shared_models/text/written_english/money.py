"""Amounts of money: signs and codes of currencies, before or behind, with cents, magnitudes and spans."""

from __future__ import annotations

import re
from re import Match
from typing import NamedTuple

from shared_models.text.numbers import cardinal, decimal
from shared_models.text.written_english.rules import NUMBER, Rule, is_one


class _Currency(NamedTuple):
    one: str
    many: str
    cent: str = "cent"
    cents: str = "cents"


def _dollars(whose: str) -> _Currency:
    return _Currency(f"{whose} dollar", f"{whose} dollars")


_DOLLAR, _EURO = _Currency("dollar", "dollars"), _Currency("euro", "euros")
_POUND = _Currency("pound", "pounds", "penny", "pence")
_YEN, _WON = _Currency("yen", "yen", "sen", "sen"), _Currency("won", "won")
_YUAN = _Currency("yuan", "yuan", "fen", "fen")
_RUPEE = _Currency("rupee", "rupees", "paisa", "paise")
_FRANC = _Currency("swiss franc", "swiss francs", "centime", "centimes")
_SIGNS = {
    "$": _DOLLAR, "£": _POUND, "€": _EURO, "¥": _YEN, "₹": _RUPEE, "₩": _WON, "₽": _Currency("ruble", "rubles"),
    "₺": _Currency("lira", "lira"), "₴": _Currency("hryvnia", "hryvnias"), "₫": _Currency("dong", "dong"),
    "₪": _Currency("shekel", "shekels"), "₱": _Currency("peso", "pesos"), "₦": _Currency("naira", "naira"),
    "฿": _Currency("baht", "baht"), "₿": _Currency("bitcoin", "bitcoins"), "₵": _Currency("cedi", "cedis"),
    "₡": _Currency("colon", "colones"), "₸": _Currency("tenge", "tenge"),
    "US$": _Currency("U S dollar", "U S dollars"), "A$": _dollars("australian"), "AU$": _dollars("australian"),
    "C$": _dollars("canadian"), "CA$": _dollars("canadian"), "CAD$": _dollars("canadian"),
    "HK$": _dollars("hong kong"), "NZ$": _dollars("new zealand"), "S$": _dollars("singapore"),
    "NT$": _dollars("new taiwan"), "R$": _Currency("real", "reais", "centavo", "centavos"),
    "MX$": _Currency("mexican peso", "mexican pesos"), "CN¥": _YUAN, "JP¥": _YEN,
}  # fmt: skip
_CODES = {
    "USD": _SIGNS["US$"], "EUR": _EURO, "GBP": _POUND, "JPY": _YEN, "CNY": _YUAN, "RMB": _YUAN, "INR": _RUPEE,
    "KRW": _WON, "AUD": _SIGNS["A$"], "CAD": _SIGNS["C$"], "HKD": _SIGNS["HK$"], "NZD": _SIGNS["NZ$"],
    "SGD": _SIGNS["S$"], "TWD": _SIGNS["NT$"], "CHF": _FRANC, "BRL": _SIGNS["R$"], "RUB": _SIGNS["₽"],
    "SEK": _Currency("swedish krona", "swedish kronor"), "NOK": _Currency("norwegian krone", "norwegian kroner"),
    "DKK": _Currency("danish krone", "danish kroner"), "PLN": _Currency("zloty", "zlotys"),
    "MXN": _SIGNS["MX$"], "ZAR": _Currency("rand", "rand"), "THB": _SIGNS["฿"], "TRY": _SIGNS["₺"],
    "AED": _Currency("dirham", "dirhams"), "ILS": _SIGNS["₪"], "BTC": _SIGNS["₿"],
    "CZK": _Currency("czech koruna", "czech koruny"), "HUF": _Currency("forint", "forints"),
}  # fmt: skip
SIGNS_ALONE = {sign: f" {currency.many} " for sign, currency in _SIGNS.items() if len(sign) == 1} | {
    "¢": " cents "
}
"""How signs without an amount are read."""
_ALL = _SIGNS | _CODES
_MAGNITUDES = {
    "k": "thousand", "m": "million", "mn": "million", "mm": "million", "mio": "million", "bn": "billion",
    "b": "billion", "tn": "trillion", "trn": "trillion", "t": "trillion",
}  # fmt: skip
_MAGNITUDE = r"(?: ?(thousand|million|billion|trillion|(?:bn|mn|tn|trn|mio|[kmbtKMBT]|MM)\b))"
_BEFORE = "|".join(re.escape(sign) for sign in sorted(_ALL, key=len, reverse=True))
_LETTERED = "|".join(_CODES)
_BEHIND = "|".join(re.escape(sign) for sign in _ALL if sign != "$" and not sign.endswith(("$", "¥")))
_PER = {
    "hour": "hour", "hr": "hour", "h": "hour", "day": "day", "week": "week", "wk": "week", "month": "month",
    "mo": "month", "year": "year", "yr": "year", "lb": "pound", "kg": "kilogram", "person": "person",
    "night": "night",
    "gal": "gallon", "oz": "ounce", "barrel": "barrel", "ton": "ton", "share": "share", "mile": "mile",
    "min": "minute",
}  # fmt: skip
_RATE = rf"(?: ?/ ?({'|'.join(sorted(_PER, key=len, reverse=True))})\b)?"


def _amount(match: Match[str]) -> str:
    """``$3.50``: sign, number, magnitude, what it is a rate of."""
    rate = f" per {_PER[match[4]]}" if match[4] else ""
    return _said(_ALL[match[1]], match[2], match[3], _is_adjective(match)) + rate


def _amount_before(match: Match[str]) -> str:
    """``3.50 €``: number, magnitude, sign, rate."""
    rate = f" per {_PER[match[4]]}" if match[4] else ""
    return _said(_ALL[match[3]], match[1], match[2], _is_adjective(match)) + rate


def _said(currency: _Currency, written: str, magnitude: str | None, adjective: bool = False) -> str:
    whole, _, fraction = written.replace(",", "").partition(".")
    many = currency.one if adjective else currency.many
    if magnitude:
        name = _MAGNITUDES.get(magnitude.lower(), magnitude.lower())
        return f"{decimal(written)} {name} {many}"
    if len(fraction) != 2:
        return f"{decimal(written)} {currency.one if is_one(written) else many}"
    small = int(fraction)
    large = f"{decimal(whole)} {currency.one if whole == '1' else many}"
    single = small == 1 or (adjective and currency.cent == "cent")
    part = f"{cardinal(small)} {currency.cent if single else currency.cents}"
    return large if not small else part if whole in {"", "0"} else f"{large} {part}"


def _is_adjective(match: Match[str]) -> bool:
    """ "a $10 ticket" is a ten dollar ticket: an article before, a noun behind."""
    before, behind = match.string[max(0, match.start() - 3) : match.start()], match.string[match.end() :][:3]
    return bool(re.search(r"\b[aA] $", before) and re.match(r"[ -][a-z]{2}", behind))


def _span(match: Match[str]) -> str:
    """``$10-$20``: both ends, and what they are of."""
    sign, first, first_size, second, second_size = match[1], match[2], match[3], match[4], match[5]
    size = second_size or ""
    name = f" {_MAGNITUDES.get(size.lower(), size.lower())}" if size else ""
    own = f" {_MAGNITUDES.get(first_size.lower(), first_size.lower())}" if first_size else ""
    currency = _ALL[sign]
    many = currency.one if _is_adjective(match) else currency.many
    return f"{decimal(first)}{own} to {decimal(second)}{name} {many}"


def _cents(match: Match[str]) -> str:
    written, (one, many) = (match[1], ("cent", "cents")) if match[1] else (match[2], ("penny", "pence"))
    return f"{decimal(written)} {one if is_one(written) else many}"


RULES: list[Rule] = [
    (re.compile(rf"(?<![\w.])-(?=(?:{_BEFORE}) ?\d)"), "minus "),
    (re.compile(rf"(?<![\w.])(?:{_BEFORE})-(?=\d)(?<![A-Z]-)"), lambda m: f"minus {m[0][:-1]}"),
    (re.compile(rf"\b({_LETTERED}) ?[$£€¥](?=\d)"), r"\1 "),
    (
        re.compile(
            rf"(?<![A-Za-z])({_BEFORE}) ?({NUMBER}){_MAGNITUDE}? ?- ?(?:{_BEFORE})? ?({NUMBER}){_MAGNITUDE}?(?![\w-])"
        ),
        _span,
    ),
    (re.compile(rf"(?<![A-Za-z])({_BEFORE}) ?({NUMBER}){_MAGNITUDE}?(?!\w){_RATE}"), _amount),
    (re.compile(rf"({NUMBER}){_MAGNITUDE}? ?({_BEHIND})(?![\w$]){_RATE}"), _amount_before),
    (re.compile(rf"({NUMBER})¢|(?<![\d.,])(\d{{1,2}})p\b"), _cents),
]
