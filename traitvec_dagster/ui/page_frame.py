"""The pages that `traitvec ui` makes itself: a template, and what stands around it."""

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from traitvec_core.report.environment import page_environment
from traitvec_dagster.ui.addresses import PREFIX

__all__ = ["frame_page", "render"]


def frame_page(title: str, body: str) -> bytes:
    """Return a whole page.

    Args:
        title: Its title, as text.
        body: What it shows, as HTML.
    """
    return render("frame", title=title, prefix=PREFIX, body=Markup(body)).encode()  # noqa: S704


def render(name: str, **values: Any) -> str:
    """Return a template of this package, filled in; every value is escaped."""
    text: str = _template(name).render(**values)
    return text


@cache
def _template(name: str) -> Template:
    source = resources.files("traitvec_dagster") / "ui" / "templates" / f"{name}.html.j2"
    return page_environment().from_string(source.read_text("utf-8"))
