"""The consoles of the command line, which show any text as it is and obey none of it."""

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from traitvec_core.visible_text import visible

__all__ = ["PlainConsole", "err", "out", "print_json"]


class PlainConsole(Console):
    """A console for text from anywhere: no markup, no emoji codes, no control characters.

    Styles come from `rich.text.Text`, never from brackets in a string, so a name such as
    `x[/red]` is shown as it is written.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text. Made visible here, so that tables know its width."""
        return super().render_str(visible(text, keep_lines=True), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of anything; those that hold text are made visible."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible(text, keep_lines=True), style)


out = PlainConsole()
err = PlainConsole(stderr=True)
if not out.is_terminal:
    # In a log file, tables need no wrapping.
    out = PlainConsole(width=120)


def print_json(value: Any) -> None:
    """Print JSON for other programs: ASCII, and without the one control character left in it."""
    text = json.dumps(value, indent=2).replace("\x7f", "\\u007f")
    sys.stdout.write(text + "\n")
