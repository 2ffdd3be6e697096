"""A console that shows text as it is: nothing that it is given is read as markup, and no terminal obeys it.

rich reads ``[...]`` in plain text as markup, in tables and status lines too, where a name may be anybody's. Here
style comes from :class:`rich.text.Text` alone, and what reaches the terminal is rich's own control codes and
characters that can be seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from shared_models.shown_text import shown

_LINES = "\n\t"


class LiteralConsole(Console):
    """rich's console without markup, emoji codes and foreign control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Plain text, before it is laid out: what is spelled out takes the room that it needs."""
        return super().render_str(shown(text, keep=_LINES), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything else, however it came to be text."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(shown(segment.text, keep=_LINES), segment.style)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """A status line, which does not read markup either."""
        return _LiteralStatus(_literal(status), console=self, **options)


class _LiteralStatus(Status):
    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        super().update(None if status is None else _literal(status), **options)


def _literal(shown_as: RenderableType) -> RenderableType:
    # One line, whatever it holds.
    return Text(shown(shown_as)) if isinstance(shown_as, str) else shown_as
