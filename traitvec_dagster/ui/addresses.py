"""Addresses of the pages that `traitvec ui` serves, and their files as Dagster shows them.

Addresses have no host: the event log keeps them, and the UI may be reached by another one tomorrow.
"""

import re
from typing import Any

import dagster as dg

from traitvec_core.storage.markdown import escape_markdown

__all__ = ["ATLAS_PAGE", "DYNAMICS_PAGE", "PLOT", "PREFIX", "REPORT_PAGE", "link_docs", "page_url"]

PREFIX = "/traitvec"
"""Where the pages begin; Dagster has none there."""

REPORT_PAGE = "validation/report.html"
DYNAMICS_PAGE = "dynamics/dynamics.html"
ATLAS_PAGE = "atlas/atlas.html"
PLOT = "validation/plot.png"
"""The first picture of the report; it is part of the page and no file."""

# As `escape_markdown` leaves it, or as it is.
_DOCS = re.compile(r"docs/(?P<page>[a-z\\_]+)\.md\\?#(?P<section>[a-z\d-]+)")


def page_url(experiment: str, *names: str) -> Any:
    """Return a link to a page for Dagster's metadata.

    Args:
        experiment: The experiment's name.
        names: What follows it in the tree: the trait's name, if any, and the page.
    """
    return dg.MetadataValue.url("/".join((PREFIX, "experiments", experiment, *names)))


def link_docs(text: str) -> Any:
    """Return a text as Markdown, in which "docs/troubleshooting.md#…" is a link."""

    def link(match: re.Match[str]) -> str:
        page = match["page"].replace("\\", "")
        return f"[{match[0]}]({PREFIX}/docs/{page}.html#{match['section']})"

    return dg.MetadataValue.md(_DOCS.sub(link, escape_markdown(text)))
