"""Mandarin text as it is read aloud: the library wetext (Apache-2.0), under the rules for what it reads wrongly.

wetext's transducers read dates, times with a half of the day, fractions, rates, mobile numbers and plain numbers. The
rules before it see to lists, spans, units and currencies that it lacks, and to 两 and 二, which it mixes up.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from re import Match

from shared_models.text.characters import canonical, join_pauses
from shared_models.text.normalisation import normalise_english
from shared_models.text.numbers import han_cardinal, han_decimal, han_digits
from shared_models.text.written_english.rules import Rule, apply
from shared_models.text.written_mandarin_tables import (
    COUNTED,
    CURRENCIES,
    DESIGNED,
    DIALLED,
    NAMED_BY_FIGURES,
    OF_A_YEAR,
    PRICED_BY,
    SERVICE_NUMBERS,
    SIGNS,
    UNITS,
)

_PAUSES = str.maketrans(
    dict.fromkeys("，、；：;:()（）《》〈〉「」『』【】—·|", ",")
    | dict.fromkeys("。．", ".")
    | {"！": "!", "？": "?"}
)
# Compatibility forms would turn these into marks that stand inside numbers, or into figures that fuse.
_DIVIDERS = str.maketrans(
    dict.fromkeys("，；（）〔〕", "、") | {"。": "。", "：": ":", "～": "~", "〜": "~", "﹣": "-"}
)
_N = r"\d+(?:\.\d+)?"
_SPAN = r" ?[-~–—至到] ?"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"


def normalise_mandarin(text: str) -> str:
    """``text`` with numbers in characters (3.5% is 百分之三点五) and the marks ``, . ? !`` only.

    Words in Latin letters stay as they are; addresses of the web and of e-mail are read as in English.
    """
    text = re.sub("[①-⑳]", lambda m: f"{unicodedata.normalize('NFKC', m[0])}、", text)
    text = re.sub("[Ⅰ-Ⅻ]", lambda m: str(ord(m[0]) - ord("Ⅰ") + 1), text)
    text = canonical(text.translate(_DIVIDERS)).translate(str.maketrans("()", "、、"))
    text = apply(_RULES, text)
    if any(map(str.isdigit, text)):
        text = _by_library(text)
    text = re.sub(_N, lambda m: han_decimal(m[0]), text)
    return join_pauses(text.translate(SIGNS).translate(_PAUSES))


@lru_cache(maxsize=1)
def _library() -> Callable[[str], str]:
    # A third of a second, and only texts with figures need it.
    from wetext import Normalizer

    normalise: Callable[[str], str] = Normalizer(lang="zh", operator="tn").normalize
    return normalise


def _by_library(text: str) -> str:
    """wetext's reading, clause by clause: it fails as a whole where a clause holds what no transducer accepts."""
    parts = re.split(r"([、。,!?！？ ])", text)
    return "".join(_clause(part) if any(map(str.isdigit, part)) else part for part in parts)


def _clause(text: str) -> str:
    try:
        return _library()(text)
    except (AssertionError, RuntimeError):  # how wetext says that a text has no reading
        return text


def _number(written: str) -> str:
    return han_decimal(written.replace(",", ""))


def _counted(written: str) -> str:
    """A number before what is counted: 两个, but 十二个 and 二点五米."""
    return "两" if written == "2" else _number(written)


def _clock(match: Match[str]) -> str:
    hour, minute, second = int(match[1]), int(match[2]), match[3]
    if re.search(
        r"(?:比[分例率]?|赔率|以)[^\d、。]{0,3}$", match.string[max(0, match.start() - 8) : match.start()]
    ):
        return f"{han_cardinal(hour)}比{han_cardinal(minute)}"
    return _time(hour, minute) + (f"{han_cardinal(int(second))}秒" if second else "")


def _time(hour: int, minute: int) -> str:
    said = "两点" if hour == 2 else f"{han_cardinal(hour)}点"
    return said if minute == 0 else f"{said}{'零' if minute < 10 else ''}{han_cardinal(minute)}分"


def _half_of_day(match: Match[str]) -> str:
    hour = int(match[1])
    half = "上午" if match[3].lower() == "a" else "晚上" if 6 <= hour < 12 else "下午"
    return half + _time(hour, int(match[2] or 0))


def _money(match: Match[str]) -> str:
    per = f"每{UNITS.get(match[5]) or match[5]}" if match[5] else ""
    return f"{per}{'负' if match[1] else ''}{_counted(match[3])}{match[4] or ''}{CURRENCIES[match[2]]}"


def _money_behind(match: Match[str]) -> str:
    return f"{_counted(match[1])}{match[2] or ''}{CURRENCIES[match[3]]}"


def _measure(match: Match[str]) -> str:
    first, written, unit, power = match[1], match[2], match[3], match[4]
    name = {"2": "平方", "3": "立方"}.get(power or "", "") + UNITS[unit]
    below = f"每{UNITS.get(match[5]) or match[5]}" if match[5] else ""
    return f"{_counted(first) + '到' if first else ''}{_counted(written)}{name}{below}"


def _figures(written: str) -> str:
    return han_digits(re.sub(r"\D", "", written))


def _service(match: Match[str]) -> str:
    return han_digits(match[0]).replace("一", "幺")


def _groups(match: Match[str]) -> str:
    return "、".join(map(han_digits, re.findall(r"\d+", match[0])))


def _percent_span(match: Match[str]) -> str:
    return f"百分之{_number(match[1])}到百分之{_number(match[2])}"


def _date(match: Match[str]) -> str:
    month, day = int(match[3]), int(match[4])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{han_digits(match[1])}年{han_cardinal(month)}月{han_cardinal(day)}日"


def _year_span(match: Match[str]) -> str:
    return f"{han_digits(match[1])}{match[2]}到{han_digits(match[3])}年"


def _whole(match: Match[str]) -> str:
    written = match[0]
    identity = len(written) >= 10 and not written.endswith("0000")
    return han_digits(written) if identity or written[0] == "0" else han_cardinal(int(written))


def _version(match: Match[str]) -> str:
    return match[1] + "点".join(map(han_digits, match[2].split(".")))


_MONEY = "|".join(re.escape(sign) for sign in sorted(CURRENCIES, key=len, reverse=True))
_MAGNITUDE = r"(万亿|千亿|百亿|千万|百万|十万|亿|万|千|百)?"
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_RULES: list[Rule] = [
    (
        re.compile(r"(?:https?://|www\.)[\x21-\x7e]+|[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|"
            r"(?<![A-Za-z0-9.-])(?:[A-Za-z0-9-]+\.)+(?:com|cn|org|net|edu|gov|io|top)\b(?:/[\x21-\x7e]*)?",
            re.ASCII,
        ),
        lambda m: f" {normalise_english(m[0])} ",
    ),
    (re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?!,?\d)"), lambda m: m[0].replace(",", "")),
    (re.compile(r"(?<=\d),(?=\d)"), "、"),
    # Numbers to call and to key in.
    (re.compile(r"\+\d{1,3}(?:[ -]?\d{2,5}){2,4}"), lambda m: "加" + _groups(m)),
    (re.compile(r"(?<!\d)(0\d{2,3})、? ?(\d{4} ?\d{3,4})(?!\d)"), _groups),
    (re.compile(r"(?<![\d-])(?:\d{3,4}-\d{7,8}|\d{3,4}(?:-\d{3,8}){2,3})(?![\d-]|年)"), lambda m: _figures(m[0])),
    (re.compile(rf"({DIALLED}) ?:? ?({SERVICE_NUMBERS})(?!\d)"), lambda m: m[1] + han_digits(m[2]).replace("一", "幺")),
    (re.compile(rf"({DIALLED}) ?:? ?(\d{{3,}}(?:[ -]\d+)*)(?![\d.]|[个次元])"), lambda m: m[1] + _figures(m[2])),
    (re.compile(rf"(?<![\d.])(?:{SERVICE_NUMBERS})(?=热线|电话|报警|急救|平台|客服)"), _service),
    (re.compile(r"(?<![\d.])(?:10086|10010|12306|12315|955\d\d)(?![\d.]|[元个人次万行字件])"), _service),
    (re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"), lambda m: "点".join(map(han_digits, m[0].split(".")))),
    (re.compile(r"((?:[vV]|版本号?) ?)(\d+(?:\.\d+)+)"), _version),
    (re.compile(r"(?<![\d.])\d{3,4}(?=室)"), lambda m: han_digits(m[0])),
    (re.compile(rf"({DESIGNED})-(?=\d)"), r"\1"),
    # Elsewhere wetext takes numbers to call for nothing else.
    (re.compile(rf"(?<![\d.])1(?:1\d|2[0-2])(?=(?:{COUNTED})|[回课节例处国城县村户班车层])"), lambda m: _number(m[0])),
    (re.compile(rf"({NAMED_BY_FIGURES[0]})(?={NAMED_BY_FIGURES[1]})"), lambda m: han_digits(m[1])),
    (re.compile(r"(?<=波音)\d{3}(?!\d)"), lambda m: han_digits(m[0])),
    (re.compile(r"\b[Nn]o\. ?(?=\d)"), "第"),
    # Dates.
    (re.compile(r"(?<![\d.])(1\d{3}|20\d\d)([-./])(\d{1,2})\2(\d{1,2})(?![\d.])"), _date),
    (re.compile(rf"(1\d{{3}}|20\d\d)(年?){_SPAN}(1\d{{3}}|20\d\d)年"), _year_span),
    (re.compile(rf"(?<!\d)(1[89]\d\d|20\d\d)(?={OF_A_YEAR})"), lambda m: han_digits(m[1])),
    (re.compile(r"(?<!\d)([5-9]\d|0\d)(?=年(?!代|[级龄来间后前以多的]))"), lambda m: han_digits(m[1])),
    (re.compile(r"(?<![\d.])(\d{1,2})月(?:(\d{1,2})(?=[日号]|、|到|-))?"), lambda m: (
        f"{han_cardinal(int(m[1]))}月{han_cardinal(int(m[2])) if m[2] else ''}"
    )),
    (re.compile(r"(?<![\d.])(\d+)(?=[日号楼路班级](?![元]))"), lambda m: han_cardinal(int(m[1]))),
    # Times and scores.
    (re.compile(r"(?<![\d:])(\d{1,2})(?::([0-5]\d))? ?([aApP])\.?[mM]\b\.?"), _half_of_day),
    (re.compile(r"((?:比分|总分|以|战胜|击败)[^\d、。]{0,4})(\d+) ?[-:] ?(\d+)(?![\d:])"), (
        lambda m: f"{m[1]}{han_cardinal(int(m[2]))}比{han_cardinal(int(m[3]))}"
    )),
    (re.compile(r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?分?(?![\d:])"), _clock),
    (re.compile(rf"(?<=[点分秒]){_SPAN}(?=[零一两二三四五六七八九十])"), "到"),
    (re.compile(r"(?<![\d:])(\d+):(\d+)(?![\d:])"), lambda m: f"{_number(m[1])}比{_number(m[2])}"),
    # Money, measures, percentages.
    (
        re.compile(rf"(-)?(?<![A-Za-z])({_MONEY}) ?({_N}){_MAGNITUDE}(?: ?/ ?({_UNIT}|{PRICED_BY})(?![A-Za-z]))?"),
        _money,
    ),
    (re.compile(rf"({_N}){_MAGNITUDE} ?({_MONEY})(?![A-Za-z])"), _money_behind),
    (re.compile(rf"(?<![\d.°C])-({_N}) ?(?:°C|℃|摄氏度|度)"), lambda m: f"零下{_number(m[1])}摄氏度"),
    (re.compile(rf"({_N})[%％]{_SPAN}({_N})[%％]"), _percent_span),
    (re.compile(rf"({_N}){_SPAN}({_N})[%％]"), _percent_span),
    (re.compile(rf"(-?)({_N}) ?[%％]"), lambda m: f"{'负' if m[1] else ''}百分之{_number(m[2])}"),
    (re.compile(rf"({_N}) ?‰"), lambda m: f"千分之{_number(m[1])}"),
    (
        re.compile(rf"(?:({_N}){_SPAN})?({_N}) ?({_UNIT})(?:\^([23]))?(?: ?/ ?({_UNIT}|天|人|次|年))?(?![A-Za-z])"),
        _measure,
    ),
    (re.compile(rf"(?<=度){_SPAN}(?=[零一二两三四五六七八九十百])"), "到"),
    # Fractions and mathematics.
    (re.compile(r"(\d+) (\d+)/(\d+)"), lambda m: f"{_number(m[1])}又{_number(m[3])}分之{_number(m[2])}"),
    (re.compile(r"(?<=[\dA-Za-z)^]) ?- ?(?=[\dA-Za-z][^、。]{0,12}=)"), "减"),
    (re.compile(r"(?<=[\dA-Za-z]) ?\+ ?(?=[\dA-Za-z])"), "加"),
    (re.compile(r"(?<=\d) ?[×xX*] ?(?=\d)"), "乘"),
    (re.compile(r"(?<=\d) ?÷ ?(?=\d)"), "除以"),
    (re.compile(r"\^(-?\d+)"), lambda m: (
        {"2": "的平方", "3": "的立方"}.get(m[1]) or f"的{'负' if m[1][0] == '-' else ''}{_number(m[1].lstrip('-'))}次方"
    )),
    # Letters and figures that name something.
    (re.compile(r"(?<=[A-Za-z])-(?=\d{1,3}(?!\d))"), " "),
    (re.compile(r"(?<=[A-Za-z])(\d{3,})(?![\d.])"), lambda m: han_digits(m[1])),
    # 两 and 二.
    (re.compile(r"第 ?(\d+)"), lambda m: f"第{han_cardinal(int(m[1]))}"),
    (re.compile(r"(?<=[周初]|期)(\d)(?!\d)"), lambda m: han_cardinal(int(m[1]))),
    (re.compile(rf"(?<![\d.第])2(?={_SPAN}\d+ ?(?:{COUNTED}))"), "两"),
    (re.compile(rf"(?<![\d.第\-~到/])2(?=(?:{COUNTED}))"), "两"),
    (re.compile(rf"(?<=[\d两零一二三四五六七八九十百千]){_SPAN}(?=\d)(?!\d+-)"), "到"),
    (re.compile(r"(?<![\w)])-(?=\d)"), "负"),
    (re.compile(r"(?<![\d.$/])\d+\.\d+(?![\d./])"), lambda m: han_decimal(m[0])),
    (re.compile(r"(?<![\d./])(?:\d{4,9}|\d{10,})(?![\d./])(?!年)(?<!1[3-9]\d{9})"), _whole),
]  # fmt: skip
