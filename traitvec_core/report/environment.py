"""The environment in which the templates of all pages are rendered."""

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["page_environment"]


def page_environment() -> Environment:
    """Return an environment that escapes every value; each page adds its own filters.

    Texts, names and messages are untrusted: a model or anyone may have written them.
    """
    return Environment(
        loader=PackageLoader("traitvec_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
