"""What the templates of all pages are read with."""

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["page_environment"]


def page_environment() -> Environment:
    """Return an environment for a page's own filters; it escapes every value.

    Texts, names and messages are whatever a model or somebody chose to write.
    """
    return Environment(
        loader=PackageLoader("traitvec_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
