"""The project's own pages, beside Dagster's: reports, dynamics, atlases, and the documentation.

They are only read, by name. A page of the tree is HTML that an experiment's author may have
written, and it comes from the host that Dagster is controlled from. So it is served in a sandbox:
for the browser it has no origin, and the front refuses what such a page sends. Of all scripts, only
the report's runs.
"""

from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from traitvec_core.errors import TraitvecError
from traitvec_core.report.page_script import PAGE_SCRIPT_HASH
from traitvec_core.storage.provenance import content_hash
from traitvec_core.visible_text import one_line
from traitvec_dagster.ui.addresses import PREFIX
from traitvec_dagster.ui.doc_pages import read_doc
from traitvec_dagster.ui.index_page import build_index
from traitvec_dagster.ui.tree_pages import read_tree_page

__all__ = ["ProjectPages"]

_NOSNIFF = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_BASE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'self'"
)
_OWN_POLICY = f"{_BASE_POLICY}; img-src 'self'"
# An opaque origin, and no script but the report's.
_TREE_POLICY = (
    f"{_BASE_POLICY}; img-src data:; script-src 'sha256-{PAGE_SCRIPT_HASH}'; sandbox allow-scripts"
)
# So that a list that is left open shows new traits and verdicts. With 200 traits, building it takes
# half a second.
_REFRESH_INDEX_S = 20
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class _Page:
    """What is answered: the content, its media type, and what a browser lets it do.

    After `refresh_s` seconds, the browser loads it again.
    """

    data: bytes
    media_type: str
    policy: str
    refresh_s: int | None = None


class ProjectPages:
    """An ASGI application that answers addresses below `/traitvec/`, and passes on all others.

    Args:
        app: The application behind it.
        experiments: The folder of all experiments.
    """

    def __init__(self, app: ASGIApp, experiments: Path) -> None:
        self._app = app
        self._experiments = experiments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_ours = scope["type"] == "http" and f"{scope['path']}/".startswith(f"{PREFIX}/")
        if not is_ours:
            await self._app(scope, receive, send)
            return
        # Files, and with a bucket the network: other requests go on meanwhile.
        response = await run_in_threadpool(self._respond, Request(scope))
        await response(scope, receive, send)

    def _respond(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return _line("these pages are only read", 405, {"Allow": "GET, HEAD"})
        name = request.scope["path"].removeprefix(PREFIX)
        if name in {"", "/docs"}:
            # The links of a page are relative to its folder.
            return RedirectResponse(f"{PREFIX}{name}/")
        try:
            page = self._page(name.removeprefix("/"))
        except TraitvecError as error:
            return _line(str(error), 404)
        return _respond_with(page, request)

    def _page(self, name: str) -> _Page:
        """Return a page.

        Raises:
            TraitvecError: If there is none of this name.
        """
        area, _, rest = name.partition("/")
        if name == "":
            index = build_index(self._experiments)
            return _Page(index, _MEDIA_TYPES[".html"], _OWN_POLICY, refresh_s=_REFRESH_INDEX_S)
        if area == "docs":
            name = rest or "index.html"
            return _Page(read_doc(name), _MEDIA_TYPES[Path(name).suffix], _OWN_POLICY)
        if area == "experiments":
            data = read_tree_page(self._experiments, rest)
            return _Page(data, _MEDIA_TYPES[Path(rest).suffix], _TREE_POLICY)
        raise TraitvecError(f"there is no such page; {PREFIX}/ lists all")


def _respond_with(page: _Page, request: Request) -> Response:
    tag = f'"{content_hash(page.data)}"'
    headers = {
        **_NOSNIFF,
        "Content-Security-Policy": page.policy,
        "Cache-Control": "no-cache",
        "ETag": tag,
    }
    if page.refresh_s is not None:
        # With the address: from one with a #fragment, a browser would not load the page again.
        headers["Refresh"] = f"{page.refresh_s}; url={request.scope['path']}"
    known = request.headers.get("if-none-match", "").split(",")
    if tag in {one.strip().removeprefix("W/") for one in known}:
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        headers["Content-Length"] = str(len(page.data))
        return Response(headers=headers, media_type=page.media_type)
    return Response(page.data, headers=headers, media_type=page.media_type)


def _line(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{one_line(text)}\n", status, {**_NOSNIFF, **(headers or {})})
