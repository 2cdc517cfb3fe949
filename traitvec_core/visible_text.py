r"""Text from models, servers, files and other people, as it may be shown.

A terminal obeys control characters, an overriding direction shows a line backwards, and invisible
characters hide text. Whatever is shown goes through `visible`; what is stored stays as it was.
"""

import re

__all__ = ["one_line", "visible"]

# Control characters (C0, C1, DEL), line and paragraph separators, marks of direction, invisible
# characters (zero-width, soft hyphen, tags) and halves of surrogate pairs, which no stream can
# encode. The joiners U+200C and U+200D stay: Persian, Hindi and emoji are written with them.
_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_KEEPING_LINES = re.compile(f"[{_INVISIBLE}]")
_ALL = re.compile(f"[{_INVISIBLE}\t\n]")
_BREAK = re.compile(r"\s*[\r\n\u2028\u2029\x85]\s*")


def visible(text: str, *, keep_lines: bool = False) -> str:
    r"""Return text with each control or invisible character as its escape, such as `\x1b`.

    Args:
        text: Any text, even one with halves of surrogate pairs.
        keep_lines: Keep line feeds and tabs.
    """
    return (_KEEPING_LINES if keep_lines else _ALL).sub(_escape, text)


def one_line(text: str) -> str:
    """Return text as one visible line: a line break with the space around it becomes a space."""
    return visible(_BREAK.sub(" ", text.strip()))


def _escape(match: re.Match[str]) -> str:
    # As Python writes it: \n, \x1b, \u202e, \U000e0041.
    return ascii(match.group())[1:-1]
