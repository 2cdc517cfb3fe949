"""The environment in which the templates of all pages are rendered."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from traitvec_core.visible_text import visible

__all__ = ["page_environment"]


def page_environment() -> Environment:
    """Return an environment that escapes every value and makes control characters visible.

    Each page adds its own filters. Texts, names and messages are untrusted: a model or anyone may
    have written them.
    """
    return Environment(
        loader=PackageLoader("traitvec_core.report"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _visible(value: Any) -> Any:
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return visible(value, keep_lines=True) if is_text else value
