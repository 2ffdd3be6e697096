"""The command line shows everybody's text as it is: no markup, no control characters, whatever draws it."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nasty_names import NASTY, OBEYED, RICHS_OWN
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from shared_models import console
from shared_models.literal_console import LiteralConsole

COMMANDS = Path(console.__file__).parent
_texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=30),
    st.text(st.sampled_from("[]/bold red=link:smile\\\x1b\x07\x9b\r\n"), max_size=40),
)


def _drawn(text: str) -> str:
    screen = LiteralConsole(file=io.StringIO(), force_terminal=True, width=100)
    table = Table(text, "other", title=text, caption=text)
    table.add_column(text, footer=text)
    table.add_row(text, Text(text))
    screen.print(text)
    screen.print("a:", text, table, console.styled(text, "bold red"))
    with screen.status(text) as line:
        line.update(text)
    screen.rule(text)
    with Progress(TextColumn("{task.description}", markup=False), console=screen) as bars:
        bars.add_task(text, total=1)
        bars.refresh()
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


@given(_texts)
def test_no_text_is_obeyed_however_it_is_drawn(text: str) -> None:
    assert OBEYED.search(RICHS_OWN.sub("", _drawn(text)).replace("\r", "")) is None


@given(st.text(st.sampled_from("[]/bold red=link:smile"), min_size=1, max_size=40))
def test_markup_is_shown_and_not_read(text: str) -> None:
    screen = LiteralConsole(file=io.StringIO(), width=200)
    screen.print(f"<{text}>")
    assert isinstance(screen.file, io.StringIO)
    assert f"<{text}>" in screen.file.getvalue()


@given(_texts)
def test_errors_and_json_are_obeyed_by_nobody_either(text: str) -> None:
    shown, written = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "notices", lambda: LiteralConsole(file=shown, force_terminal=True))
        patch.setattr(sys, "stdout", written)
        console.print_error(text)
        if not re.search("[\ud800-\udfff]", text):
            console.print_json({text: [text]})
            assert json.loads(written.getvalue()) == {text: [text]}
    assert OBEYED.search(RICHS_OWN.sub("", shown.getvalue())) is None
    assert OBEYED.search(written.getvalue()) is None


def test_commands_draw_on_this_console_alone() -> None:
    """A name that is printed past it, or a style that is written into text, is found here."""
    for path in sorted(COMMANDS.glob("*.py")):
        if path.name == "literal_console.py":
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in ("rich.console", "rich.markup", "rich"):
                assert path.name == "console.py", f"{path.name} imports {node.module}"
                assert [name.name for name in node.names] == ["Console"], "for its type alone"
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich."):
                # Of others, such as panels, titles are read as markup wherever they are drawn.
                known = ("box", "console", "live", "progress", "table", "text")
                assert (node.module or "").removeprefix("rich.") in known, (
                    f"{path.name} imports {node.module}"
                )
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "Console"), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "markup":
                assert ast.unparse(node.value) == "False", f"{path.name}:{node.value.lineno}"
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("from_markup", "echo", "secho"), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                style = re.search(
                    r"\[/?(bold|dim|red|green|yellow|cyan|link|italic|/)?\]|\[(bold|dim) ", node.value
                )
                assert style is None, (
                    f"{path.name}:{node.lineno} writes {style} into text, which shows it: styled()"
                )
