"""What the front of the UI passes on, and what it refuses, header by header."""

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from traitvec_core.errors import TraitvecError
from traitvec_dagster.ui.front import OwnOriginOnly
from traitvec_dagster.ui.origins import ORIGINS_VARIABLE, own_origins

HERE = "127.0.0.1:3000"
OWN = {"host": HERE, "origin": f"http://{HERE}", "sec-fetch-site": "same-origin"}
JSON = {"content-type": "application/json"}
QUERY = '{"query": "{ version }"}'
# What an <img> of another site sends.
IMAGE = {
    "host": HERE, "accept": "image/*", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors",
    "sec-fetch-dest": "image",
}  # fmt: skip
LINK = {
    "host": HERE, "accept": "text/html", "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate", "sec-fetch-dest": "document",
}  # fmt: skip


class Front:
    """The front before an application that records what reaches it."""

    def __init__(self, bound_host: str = "127.0.0.1") -> None:
        self.passed: list[str] = []

        async def answer(request: Request) -> JSONResponse:
            self.passed.append(request.method)
            return JSONResponse({})

        async def talk(websocket: WebSocket) -> None:
            self.passed.append("websocket")
            await websocket.accept()
            await websocket.send_json({})
            await websocket.close()

        behind = Starlette(
            routes=[
                WebSocketRoute("/graphql", talk),
                Route("/{path:path}", answer, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"]),
            ]
        )
        self.client = TestClient(OwnOriginOnly(behind, own_origins(bound_host)))

    def passes(
        self, method: str, path: str, headers: Mapping[str, str] | list[tuple[str, str]],
        content: str | None = None,
    ) -> bool:  # fmt: skip
        """Send a request; returns whether it reached the application, and checks the answer."""
        before = len(self.passed)
        answer = self.client.request(method, path, headers=headers, content=content)  # type: ignore[arg-type]
        is_passed = len(self.passed) > before
        assert answer.status_code == (200 if is_passed else 403), answer.text
        if not is_passed and method != "HEAD":
            assert answer.text.startswith("refused: ")
            assert len(answer.text.splitlines()) == 1
            assert answer.text.rstrip("\n").isprintable()
        return is_passed

    def connects(self, headers: dict[str, str]) -> bool:
        """Open a websocket; returns whether it reached the application."""
        try:
            with self.client.websocket_connect("/graphql", headers=headers) as socket:
                socket.receive_json()
        except WebSocketDisconnect:
            assert "websocket" not in self.passed
            return False
        return "websocket" in self.passed


@pytest.fixture(autouse=True)
def no_origins_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ORIGINS_VARIABLE, raising=False)


@pytest.fixture
def front() -> Front:
    return Front()


def test_the_uis_own_pages_and_programs_pass(front: Front) -> None:
    own = {**OWN, **JSON}
    assert front.passes("POST", "/graphql", own, QUERY)
    assert front.passes(
        "POST", "/graphql", {**own, "content-type": "application/json; charset=UTF-8"}
    )
    assert front.passes("GET", "/runs", {"host": HERE, "sec-fetch-site": "none"})
    assert front.passes("GET", "/static/main.js", {"host": HERE, "sec-fetch-site": "same-origin"})
    # The page with the query editor.
    assert front.passes("GET", "/graphql", {"host": HERE, "accept": "text/html,*/*"})
    # Not a browser: Dagster's own clients, curl.
    assert front.passes("POST", "/graphql", {"host": HERE, **JSON}, QUERY)
    assert front.passes("GET", "/server_info", {"host": HERE})
    assert front.connects({"host": HERE, "origin": f"http://{HERE}"})
    assert front.connects({"host": HERE})
    # A link from a chat or a report opens a page.
    assert front.passes("GET", "/runs/1234", LINK)


@pytest.mark.parametrize(
    "host", ["localhost:3000", "LOCALHOST", "[::1]:3000", "127.0.0.1", "localhost:8080"]
)
def test_loopback_names_on_any_port_are_the_ui(front: Front, host: str) -> None:
    own = {"host": host, "origin": f"http://{host.lower()}", **JSON}
    assert front.passes("POST", "/graphql", own, QUERY)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example:3000",
     "10.0.0.5:3000", "localhost:3000@evil.example", "evil.example#localhost", "localhost:", "",
     "[::1].evil.example", "evil\x1b[31m.example"],
    ids=ascii,
)  # fmt: skip
def test_a_rebound_host_is_answered_nothing(front: Front, host: str) -> None:
    assert not front.passes("GET", "/", {"host": host})
    assert not front.passes("POST", "/graphql", {"host": host, **JSON}, QUERY)
    assert not front.connects({"host": host})


def test_two_hosts_or_two_origins_are_refused(front: Front) -> None:
    assert not front.passes("GET", "/", [("host", HERE), ("host", "evil.example")])
    origins = [("origin", f"http://{HERE}"), ("origin", "http://evil.example")]
    assert not front.passes("GET", "/", [("host", HERE), *origins])


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8888",
     "https://127.0.0.1:3000", "http://127.0.0.1:3000.evil.example", "http://127.0.0.1", "file://"],
)  # fmt: skip
def test_pages_of_other_origins_are_refused(front: Front, origin: str) -> None:
    assert not front.passes("POST", "/graphql", {"host": HERE, "origin": origin, **JSON}, QUERY)
    assert not front.passes("GET", "/runs", {"host": HERE, "origin": origin})
    assert not front.passes("OPTIONS", "/graphql", {"host": HERE, "origin": origin, **JSON})
    assert not front.connects({"host": HERE, "origin": origin})


@pytest.mark.parametrize("site", ["cross-site", "same-site", "other"])
def test_what_another_site_embeds_is_refused(front: Front, site: str) -> None:
    for destination in ("image", "script", "iframe", "empty"):
        foreign = {**IMAGE, "sec-fetch-site": site, "sec-fetch-dest": destination}
        assert not front.passes("GET", "/logs/run/compute.out", foreign)
        assert not front.passes("GET", "/runs", {**foreign, "sec-fetch-mode": "navigate"})
    assert not front.passes("POST", "/graphql", {**OWN, **JSON, "sec-fetch-site": site}, QUERY)
    assert not front.connects({**OWN, "sec-fetch-site": site})


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/%67raphql"])
def test_graphql_is_never_answered_to_a_get(front: Front, path: str) -> None:
    mutation = f"{path}?query=mutation%7BlaunchRun%7D"
    for headers in (IMAGE, {"host": HERE}, {**OWN, "accept": "*/*"}, {**OWN, **JSON}):
        assert not front.passes("GET", mutation, headers)
        assert not front.passes("HEAD", mutation, headers)
    # Nor is its page opened from elsewhere.
    assert not front.passes("GET", mutation, LINK)


@pytest.mark.parametrize("path", ["/graphql?query=x", "/report_asset_materialization/demo"])
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/graphql", "text/plain; application/json", "application/json-patch+json", None],
)  # fmt: skip
def test_changes_are_taken_as_json_only(front: Front, path: str, kind: str | None) -> None:
    kinds: dict[str, Any] = {"content-type": kind} if kind else {}
    assert not front.passes("POST", path, {**OWN, **kinds}, QUERY)
    assert not front.passes("PUT", path, {**OWN, **kinds}, QUERY)
    two = [*OWN.items(), ("content-type", "application/json"), ("content-type", "text/plain")]
    assert not front.passes("POST", path, two, QUERY)


def test_other_sites_cannot_frame_the_pages(front: Front) -> None:
    answer = front.client.get("/runs", headers={"host": HERE})
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


def test_the_bound_host_is_the_ui_but_all_addresses_name_none() -> None:
    headers = {"host": "10.0.0.5:3000", "origin": "http://10.0.0.5:3000", **JSON}
    assert Front("10.0.0.5").passes("POST", "/graphql", headers, QUERY)
    assert not Front("0.0.0.0").passes("POST", "/graphql", headers, QUERY)
    assert not Front("::").passes("POST", "/graphql", headers, QUERY)
    assert Front("0.0.0.0").passes("GET", "/", {"host": HERE})
    assert Front("fd00::5").passes("GET", "/", {"host": "[fd00::5]:3000"})


def test_listed_origins_are_the_ui_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ORIGINS_VARIABLE, "https://Dagster.example.org/, http://box:3000,")
    front = Front()
    proxied = {"origin": "https://dagster.example.org", "sec-fetch-site": "same-origin", **JSON}
    # A proxy passes the browser's Host on, or sets the address that it calls.
    assert front.passes("POST", "/graphql", {**proxied, "host": "dagster.example.org"}, QUERY)
    assert front.passes("POST", "/graphql", {**proxied, "host": HERE}, QUERY)
    assert front.connects({"host": "box:3000", "origin": "http://box:3000"})
    assert not front.passes("GET", "/", {"host": "box:3001"})
    assert not front.passes("GET", "/", {"host": "evil.example"})
    other = {**proxied, "origin": "https://example.org", "host": HERE}
    assert not front.passes("POST", "/graphql", other, QUERY)
    assert not front.passes(
        "POST", "/graphql", {**proxied, "host": HERE, "sec-fetch-site": "same-site"}
    )


def test_default_ports_may_be_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ORIGINS_VARIABLE, "https://dagster.example.org:443")
    headers = {"host": "dagster.example.org", "origin": "https://dagster.example.org", **JSON}
    assert Front().passes("POST", "/graphql", headers, QUERY)


@pytest.mark.parametrize(
    "text",
    ["*", "null", "dagster.example.org", "https://", "https://example.org/dagster", "ftp://box",
     "https://user:secret@example.org", "https://example.org?x=1", "http://box:99999", "http://[",
     "http://*.example.org", "x" * 500],
)  # fmt: skip
def test_what_is_no_origin_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(ORIGINS_VARIABLE, f"http://box:3000,{text}")
    with pytest.raises(TraitvecError, match=f"{ORIGINS_VARIABLE}: .* is not an origin") as error:
        own_origins("127.0.0.1")
    assert len(str(error.value)) < 250
    assert "secret" not in str(error.value)
