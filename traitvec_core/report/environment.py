"""The environment in which the templates of all pages are rendered."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from traitvec_core.visible_text import visible

__all__ = ["page_environment", "shorten"]


def page_environment() -> Environment:
    """Return an environment that escapes every value and makes control characters visible.

    Each page adds its own filters. Texts, names and messages are untrusted: a model or anyone may
    have written them.
    """
    environment = Environment(
        loader=PackageLoader("traitvec_core.report"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shorten"] = shorten
    return environment


def shorten(text: str, most: int) -> str:
    """Return a text's first sentences, or words, as far as `most` characters hold them."""
    flat = " ".join(text.split())
    if len(flat) <= most:
        return flat
    start = flat[: most + 1]
    # What is shorter is hardly a sentence, but an abbreviation.
    end = start.rfind(". ", 40)
    return start[: end + 1] if end > 0 else start[: max(start.rfind(" "), 1)].rstrip(",;:") + " …"


def _visible(value: Any) -> Any:
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return visible(value, keep_lines=True) if is_text else value
