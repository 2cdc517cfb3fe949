"""A hook of mkdocs: links to files outside docs/ become plain text.

On a forge these links open the file. The site holds only docs/, so it shows the text alone, which
names the file.
"""

import re
from typing import Any

_OUTSIDE_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's Markdown without links that leave docs/."""
    return _OUTSIDE_LINK.sub(r"\1", markdown)
