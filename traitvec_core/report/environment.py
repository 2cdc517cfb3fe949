"""The environment in which the templates of all pages are rendered."""

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["page_environment", "shorten"]


def page_environment() -> Environment:
    """Return an environment that escapes every value; each page adds its own filters.

    Texts, names and messages are untrusted: a model or anyone may have written them.
    """
    environment = Environment(
        loader=PackageLoader("traitvec_core.report"),
        autoescape=True,
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
