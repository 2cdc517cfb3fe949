"""Text from models and users inside Markdown."""

import html

from traitvec_core.visible_text import visible

__all__ = ["escape_markdown"]


def escape_markdown(text: str) -> str:
    """Return text as one paragraph, escaped so that it contains neither markup nor HTML."""
    flat = html.escape(visible(" ".join(text.split())), quote=False)
    return "".join("\\" + char if char in "\\`*_[]|#" else char for char in flat)
