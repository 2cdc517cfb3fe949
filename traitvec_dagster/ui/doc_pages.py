"""The documentation of the installed version, as pages: `docs/*.md`, rendered when asked for."""

import itertools
import re
from functools import cache
from importlib import metadata
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

import traitvec_dagster
from traitvec_core.errors import TraitvecError
from traitvec_dagster.ui.page_frame import frame_page

__all__ = ["read_doc"]

# Where pyproject.toml installs them.
_INSTALLED = "share/traitvec/docs/*"
_SIGNATURES = re.compile(r"^::: (\S+)$", re.MULTILINE)


def read_doc(name: str) -> bytes:
    """Return a page of the documentation as HTML, or one of its pictures.

    Args:
        name: `troubleshooting.html`, or `pictures/report.png`, as a browser sent it.

    Raises:
        TraitvecError: If there is none of this name.
    """
    files = _files()
    if name.endswith(".html") and (page := files.get(f"{name.removesuffix('.html')}.md")):
        return _render(page)
    if name.endswith(".png") and (picture := files.get(name)):
        return picture.read_bytes()
    if not files:
        raise TraitvecError("the documentation is not installed here; read it in the repository")
    raise TraitvecError("the documentation has no such page")


@cache
def _files() -> dict[str, Path]:
    """Every page and picture by its name: of the checkout, else as installed."""
    folder = Path(traitvec_dagster.__file__).parents[1]
    if (folder / "mkdocs.yml").is_file():
        docs = folder / "docs"
        return {
            path.relative_to(docs).as_posix(): path
            for pattern in ("*.md", "pictures/*.png")
            for path in docs.glob(pattern)
        }
    files = metadata.files("traitvec") or ()
    shown: dict[str, Path] = {}
    for file in files:
        if file.match(_INSTALLED):
            shown[file.name] = Path(str(file.locate()))
        elif file.match("share/traitvec/docs/pictures/*"):
            shown[f"pictures/{file.name}"] = Path(str(file.locate()))
    return shown


@cache
def _render(path: Path) -> bytes:
    # On the documentation's site, signatures stand here.
    text = _SIGNATURES.sub(r"- `\1`", path.read_text("utf-8"))
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title = _link_headings(tokens)
    for token in tokens:
        for child in token.children or ():
            href = child.attrs.get("href")
            if isinstance(href, str) and ":" not in href:
                child.attrs["href"] = re.sub(r"\.md(?=#|$)", ".html", href)
    body = parser.renderer.render(tokens, parser.options, {})
    return frame_page(title or path.stem, body)


def _link_headings(tokens: list[Token]) -> str:
    """Give headings the anchors that the repository's site gives them; returns the first."""
    used: dict[str, int] = {}
    title = ""
    for opening, inline in itertools.pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = "".join(
            node.content
            for node in SyntaxTreeNode([inline]).walk()
            if node.type in {"text", "code_inline"}
        )
        title = title or text
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        number = used.get(anchor, 0)
        used[anchor] = number + 1
        opening.attrs["id"] = f"{anchor}-{number}" if number else anchor
    return title
