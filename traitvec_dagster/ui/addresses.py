"""Addresses of the pages that `traitvec ui` serves, and their files as Dagster shows them.

Addresses have no host: the event log keeps them, and the UI may be reached by another one tomorrow.
"""

import re
from typing import Any

import dagster as dg

__all__ = [
    "ATLAS_PAGE", "DYNAMICS_PAGE", "PLOT", "PREFIX", "REPORT_PAGE", "docs_url", "page_url",
    "show_picture", "verdict_url",
]  # fmt: skip

PREFIX = "/traitvec"
"""Where the pages begin; Dagster has none there."""

REPORT_PAGE = "validation/report.html"
DYNAMICS_PAGE = "dynamics/dynamics.html"
ATLAS_PAGE = "atlas/atlas.html"
PLOT = "validation/plot.svg"
"""The first picture of the report, narrow; it is part of the page and no file."""

_DOCS = re.compile(r"docs/(?P<page>[a-z_]+)\.md#(?P<section>[a-z\d-]+)")


def page_url(experiment: str, *names: str) -> Any:
    """Return a link to a page for Dagster's metadata.

    Args:
        experiment: The experiment's name.
        names: What follows it in the tree: the trait's name, if any, and the page.
    """
    return dg.MetadataValue.url(_address(experiment, *names))


def verdict_url(experiment: str, trait: str) -> Any:
    """Return a link to a trait in the list of reports, for Dagster's metadata.

    The list shows the verdict as soon as there is one. Dagster's page of the trait's report would
    have to be loaded again.
    """
    return dg.MetadataValue.url(f"{PREFIX}/#{experiment}/{trait}")


def show_picture(experiment: str, *names: str) -> Any:
    """Return a picture for Dagster's metadata; see `page_url`.

    Dagster shows Markdown at once only below 1,000 characters, which leaves no room for the picture
    itself.
    """
    return dg.MetadataValue.md(f"![picture of the report]({_address(experiment, *names)})")


def docs_url(text: str) -> Any:
    """Return a link to the section of the documentation that a text names first, or None.

    Of texts, Dagster links no part, and Markdown it hides behind a click on the page of a check.
    """
    match = _DOCS.search(text)
    if match is None:
        return None
    return dg.MetadataValue.url(f"{PREFIX}/docs/{match['page']}.html#{match['section']}")


def _address(experiment: str, *names: str) -> str:
    return "/".join((PREFIX, "experiments", experiment, *names))
