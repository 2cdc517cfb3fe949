"""What stands before Dagster's webserver: only the UI's own pages may use it.

Dagster's webserver has no login, answers any `Host`, and takes mutations in a GET, so any page that
is open in the same browser could start runs. This front refuses what a page of another site sends.
It is no login: a program on the machine, or on a network that reaches the port, is let through.
"""

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from traitvec_dagster.ui.origins import ORIGINS_VARIABLE, OwnOrigins

__all__ = ["OwnOriginOnly"]

_READING = frozenset({"GET", "HEAD"})
# `none` is an address that the user typed.
_OWN_SITE = frozenset({"same-origin", "none"})


class OwnOriginOnly:
    """An ASGI application that passes on what the UI's own pages send, and refuses the rest.

    Args:
        app: The application behind it.
        own: What counts as the UI itself.
    """

    def __init__(self, app: ASGIApp, own: OwnOrigins) -> None:
        self._app = app
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or websocket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        problem = _problem(scope, self._own)
        if problem is None:
            await self._app(scope, receive, _without_foreign_frames(send))
        elif scope["type"] == "websocket":
            # Before it is accepted, so the server answers 403.
            await send({"type": "websocket.close", "code": 1008, "reason": problem[:120]})
        else:
            refusal = PlainTextResponse(
                f"refused: {problem}\n", 403, headers={"X-Content-Type-Options": "nosniff"}
            )
            await refusal(scope, receive, send)


def _problem(scope: Scope, own: OwnOrigins) -> str | None:
    """Return why a request is refused, or None."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not own.is_own_host(hosts[0]):
        return (
            f"the UI does not answer Host {', '.join(hosts)[:80]!r}; if it should, add the origin"
            f" to {ORIGINS_VARIABLE}, such as https://dagster.example.org"
        )
    origins = headers.getlist("origin")
    if origins and not (len(origins) == 1 and own.is_own_origin(origins[0], hosts[0])):
        return (
            f"Origin {', '.join(origins)[:80]!r} is not the UI's own; if it should be, add it to"
            f" {ORIGINS_VARIABLE}"
        )
    # Programs that are not browsers send no such header.
    if not _OWN_SITE.issuperset(headers.getlist("sec-fetch-site")) and not _opens_page(scope):
        return "a page of another site sent this"
    return _problem_of_graphql(scope, headers) if scope["type"] == "http" else None


def _problem_of_graphql(scope: Scope, headers: Headers) -> str | None:
    """Return what is wrong with the form of a request that could change something, or None."""
    if scope["method"] not in _READING:
        # Other types cross sites without asking first. Dagster itself looks for these words
        # anywhere in the header.
        types = [
            value.partition(";")[0].strip().lower() for value in headers.getlist("content-type")
        ]
        if types != ["application/json"]:
            return "requests that may change something need Content-Type: application/json"
    elif _is_graphql(scope) and "text/html" not in headers.get("accept", ""):
        # With text/html it is the page with the query editor.
        return "GraphQL is answered only as a POST with Content-Type: application/json"
    return None


def _opens_page(scope: Scope) -> bool:
    """Whether a browser follows a link to a page, which by itself reads and changes nothing."""
    headers = Headers(scope=scope)
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.getlist("sec-fetch-mode") == ["navigate"]
        and headers.getlist("sec-fetch-dest") == ["document"]
        and not _is_graphql(scope)
    )


def _is_graphql(scope: Scope) -> bool:
    return str(scope["path"]).rstrip("/").endswith("/graphql")


def _without_foreign_frames(send: Send) -> Send:
    """Return a `send` that forbids other sites to frame the UI, where a click could be stolen."""

    async def framed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", []), (b"x-frame-options", b"SAMEORIGIN")]
            message = {**message, "headers": headers}
        await send(message)

    return framed
