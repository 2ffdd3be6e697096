"""Seeded texts of every script, with what rules look for between their letters."""

from __future__ import annotations

import random

SCRIPTS = {
    "Latin": (0x20, 0x24F), "Greek": (0x370, 0x3FF), "Cyrillic": (0x400, 0x4FF), "Hebrew": (0x590, 0x5FF),
    "Arabic": (0x600, 0x6FF), "Devanagari": (0x900, 0x97F), "Thai": (0xE00, 0xE7F), "Hangul": (0xAC00, 0xD7A3),
    "Kana": (0x3040, 0x30FF), "Han": (0x4E00, 0x9FFF), "Han B": (0x20000, 0x2A6DF), "signs": (0x2000, 0x2BFF),
    "forms": (0xF900, 0xFFEF), "emoji": (0x1F300, 0x1FAFF), "anything": (1, 0x10FFFF),
}  # fmt: skip
PARTS = (
    "12", "3.5", "$", "€", "%", "10:30", "2024-05-06", "No.", "Dr.", "XIV", "年", "第", "两", "儿", "一", "不", "km/h",
    "@a.b", "#", "'", "—", "1/2", "-5°C", "+86 10 ", "v2.0", "(", ")", "3:2", "第3", "https://a.b/", "½", "²", "1e9",
)  # fmt: skip


def text_of(rng: random.Random) -> str:
    """Runs of one script each, with parts of numbers, dates and the like between them."""
    runs = []
    for _ in range(rng.randint(1, 5)):
        low, high = SCRIPTS[rng.choice(list(SCRIPTS))]
        points = [rng.randint(low, high) for _ in range(rng.randint(1, 12))]
        runs.append("".join(chr(p) for p in points if not 0xD800 <= p <= 0xDFFF))
        runs.append(rng.choice([*PARTS, " ", ""]))
    return "".join(runs)
