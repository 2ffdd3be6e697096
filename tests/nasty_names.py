"""Names that somebody could give a device, a federation or a file, to be shown to somebody else or to become a path."""

from __future__ import annotations

import re

NASTY = [
    "[/]", "[bold red]root[/bold red]", "[link=https://example.org]click", ":skull:", "\\[x]",
    "\x1b]8;;https://example.org\x07click\x1b]8;;\x07", "\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x9b31m", "a\rb", "a\nb",
    "\u202egnp.exe", "a\u2028b", "\ufeff", "7", "0", "-1", "a" * 64, "\U000e0041",
]  # fmt: skip

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\U000e0041]")
"""Characters that a terminal obeys or that make text look like other text; line feeds and tabs aside."""

# rich's own: colours, moving the cursor, clearing a line, hiding the cursor.
RICHS_OWN = re.compile("\x1b\\[[0-9;?]*[mAKGhlJ]")

PATHS = [
    "..", ".", "", "../x", "../../../up", "/etc/passwd", "a/b", "a\\b", "..\\..\\x", "C:\\x", "C:x",
    "\\\\host\\share", "//x", "~", "~root", "a\x00b", "\x00", "x" * 300, "ü" * 100, "con", "CON.txt", "nul",
    "com1", "LPT9.tar.gz", "aux ", "com\xb9", "conin$", "a.", "a ", " a", ".hidden", "-rf",
    "a-0123456789abcdef", "0123456789abcdef", "u\u0308", "\xfc", "a:b", "a*", "%2e%2e%2f",
]  # fmt: skip
"""What some file system takes for more than a file's plain name, or for another name."""
