"""The pages that the UI serves beside Dagster's, from the real server: which, and their rights."""

import base64
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree

import httpx
import pytest
from PIL import Image

from tests.projects import REPOSITORY
from traitvec_core.report.verdict_badge import VERDICT_BADGES
from traitvec_dagster.project import Project

PAGES = "/traitvec/experiments/demo"
REPORT = f"{PAGES}/refusal/validation/report.html"
_PATIENCE_S = 240
_PNG = (REPOSITORY / "docs/pictures/run.png").read_bytes()


@dataclass(frozen=True)
class Site:
    """A project's files, and a client of the server over them."""

    experiments: Path
    client: httpx.Client

    @property
    def host(self) -> str:
        return self.client.base_url.netloc.decode()

    def raw(self, target: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
        """Send a request whose target is as written: clients tidy `..` up."""
        url = self.client.base_url
        with socket.create_connection(
            (url.host, url.port or 80), timeout=_PATIENCE_S
        ) as connection:
            request = f"{method} {target} HTTP/1.1\r\nHost: {host or self.host}\r\n"
            connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, own_module_environment: None) -> Iterator[Site]:
    """The webserver that `traitvec ui` starts, without a code location: it starts in seconds."""
    folder = tmp_path_factory.mktemp("project")
    experiments = folder / "experiments"
    for trait in ("refusal", "verbosity"):
        (experiments / "demo" / trait).mkdir(parents=True)
        (experiments / "demo" / trait / "trait_definition.json").write_text("{}")
    validation = experiments / "demo/refusal/validation"
    validation.mkdir()
    (validation / "report.html").write_text("<h1>refusal</h1>")
    (validation / "report.json").write_text('{"a": 1}')
    (experiments / "demo/refusal/dynamics").mkdir()
    (experiments / "demo/refusal/dynamics/dynamics.html").write_text("<h1>dynamics</h1>")
    (experiments / "demo/atlas").mkdir()
    (experiments / "demo/atlas/atlas.html").write_text("<h1>atlas</h1>")
    (experiments / "secret.html").write_text("secret")
    (folder / "secret.html").write_text("secret")
    Project(experiments).enter()
    workspace = folder / "workspace.yaml"
    workspace.write_text("load_from: []\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "traitvec_dagster.ui.webserver",
        "--workspace", str(workspace), "--port", str(port),
    ]  # fmt: skip
    log = folder / "server.log"
    with (
        log.open("w") as output,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_S) as client,
    ):
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while not _is_up(client):
                is_waiting = process.poll() is None and time.monotonic() < deadline
                assert is_waiting, f"the server does not start:\n{log.read_text()[-2000:]}"
                time.sleep(0.2)
            yield Site(experiments, client)
        finally:
            process.terminate()
            process.wait(timeout=_PATIENCE_S)


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/server_info").is_success
    except httpx.TransportError:
        return False


# -- what is there ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "kind", "text"),
    [
        (REPORT, "text/html; charset=utf-8", "<h1>refusal</h1>"),
        (f"{PAGES}/refusal/validation/report.json", "application/json", '{"a": 1}'),
        (f"{PAGES}/refusal/dynamics/dynamics.html", "text/html; charset=utf-8", "dynamics"),
        (f"{PAGES}/atlas/atlas.html", "text/html; charset=utf-8", "atlas"),
    ],
)
def test_the_trees_pages_are_served_without_rights(
    site: Site, address: str, kind: str, text: str
) -> None:
    answer = site.client.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert text in answer.text
    policy = answer.headers["content-security-policy"]
    # No origin, no request, no form, no script but one that is named by its hash.
    assert "sandbox allow-scripts" in policy.split("; ")
    for rule in ("default-src 'none'", "form-action 'none'", "base-uri 'none'"):
        assert rule in policy
    (scripts,) = re.findall(r"script-src ([^;]*)", policy)
    assert re.fullmatch(r"'sha256-[\w+/]{43}='", scripts)
    assert "allow-same-origin" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["cache-control"] == "no-cache"


def test_a_page_that_has_not_changed_is_not_sent_again(site: Site) -> None:
    file = site.experiments / "demo/verbosity/validation/report.html"
    file.parent.mkdir(exist_ok=True)
    file.write_text("one")
    address = f"{PAGES}/verbosity/validation/report.html"
    tag = site.client.get(address).headers["etag"]
    again = site.client.get(address, headers={"if-none-match": f'"other", W/{tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert "sandbox" in again.headers["content-security-policy"]
    file.write_text("two")
    changed = site.client.get(address, headers={"if-none-match": tag})
    assert (changed.status_code, changed.text) == (200, "two")


def test_head_is_a_get_without_the_page(site: Site) -> None:
    whole, head = site.client.get(REPORT), site.client.head(REPORT)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["etag"] == whole.headers["etag"]
    assert site.client.head(f"{PAGES}/refusal/no.html").status_code == 404


def test_the_picture_of_a_report_is_served_and_nothing_else_as_a_picture(site: Site) -> None:
    folder = site.experiments / "demo/pictured/validation"
    folder.mkdir(parents=True)
    address = f"{PAGES}/pictured/validation/plot.svg"
    page = '<figure id="plot"><img alt="a" src="data:image/png;base64,{}"></figure>'
    (folder / "report.html").write_text(page.format(base64.b64encode(_PNG).decode()))
    answer = site.client.get(address)
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert base64.b64encode(_PNG) in answer.content
    picture = ElementTree.fromstring(answer.content)
    width, height = Image.open(BytesIO(_PNG)).size
    # Narrow enough to stand beside other metadata, and not distorted.
    assert int(picture.attrib["width"]) < 450
    shape = int(picture.attrib["height"]) / int(picture.attrib["width"])
    assert shape == pytest.approx(height / width, abs=0.01)
    unusable = (base64.b64encode(data).decode() for data in (b"<svg onload=alert(1)>", _PNG[:9]))
    for data in (*unusable, "x", "A" * 5):
        (folder / "report.html").write_text(page.format(data))
        assert site.client.get(address).status_code == 404
    assert site.client.get(f"{PAGES}/refusal/validation/plot.svg").status_code == 404


def test_links_of_the_first_page_of_the_docs_work_from_its_address_without_a_slash(
    site: Site,
) -> None:
    answer = site.client.get("/traitvec/docs", follow_redirects=True)
    pages = re.findall(r'href="([a-z_]+\.html)[#"]', answer.text)
    assert pages
    assert site.client.get(str(answer.url.join(pages[0]))).status_code == 200


def test_the_index_leads_to_everything(site: Site) -> None:
    answer = site.client.get("/traitvec", follow_redirects=True)
    assert answer.url.path == "/traitvec/"
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    links = re.findall(r'href="([^"]+)"', answer.text)
    assert f"{PAGES}/atlas/atlas.html" in links
    assert f"{PAGES}/refusal/dynamics/dynamics.html" in links
    for link in links:
        assert site.client.get(urljoin("/traitvec/", link)).status_code == 200, link
    # Without vectors there is no verdict.
    assert "No vectors yet" in answer.text
    assert VERDICT_BADGES["usable"] not in answer.text


# -- what is not ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["/traitvec/experiments/../secret.html", f"{PAGES}/../secret.html",
     f"{PAGES}/..%2f..%2fsecret.html", f"{PAGES}/refusal/../../../secret.html",
     f"{PAGES}/..%2f../validation/report.html", f"{PAGES}/%2e%2e/validation/report.html",
     "/traitvec/experiments/../validation/report.html",
     "/traitvec/experiments/%2e%2e/refusal/validation/report.html",
     "/traitvec/experiments//refusal/validation/report.html",
     f"{PAGES}/refusal/validation/report.html%00", f"{PAGES}/refusal%00/validation/report.html",
     f"{PAGES}/refusal/validation/..%2fvalidation/report.html", f"{PAGES}/refusal/validation/",
     f"{PAGES}/Refusal/validation/report.html", f"{PAGES}/refusal\\validation\\report.html",
     f"{PAGES}/refusal/trait_definition.json", f"{PAGES}/experiment.yaml", f"{PAGES}/",
     "/traitvec/experiments/.judgements.sqlite", "/traitvec/experiments/", "/traitvec/nothing",
     f"{PAGES}/missing/validation/report.html", "/traitvec/docs/../pyproject.toml",
     "/traitvec/docs/..%2fREADME.html", "/traitvec/docs/pictures/..%2f..%2fx.png",
     "/traitvec/docs/nothing.html", "/traitvec/docs/operating.md", "//etc/traitvec/"],
)  # fmt: skip
def test_no_other_file_has_an_address(site: Site, target: str) -> None:
    status, text = site.raw(target)
    if target.startswith("//"):
        # Dagster's own.
        assert "secret" not in text
        return
    assert status == 404
    assert len(text.splitlines()) == 1
    assert text.rstrip("\n").isprintable()
    assert "secret" not in text


def test_a_page_that_is_not_made_says_how_to_make_it(site: Site) -> None:
    status, text = site.raw(f"{PAGES}/calm/validation/report.html")
    assert status == 404
    assert text == (
        "demo/calm/validation/report.html has not been made yet; materialize validation_report of"
        " demo/calm\n"
    )


def test_nothing_is_read_through_a_link_that_leaves_the_tree(site: Site, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "validation").mkdir(parents=True)
    (outside / "validation/report.html").write_text("stolen")
    demo = site.experiments / "demo"
    for name in ("linked", "linking", "hanging"):
        (demo / name).mkdir()
    (demo / "whole").symlink_to(outside)
    (demo / "linked/validation").symlink_to(outside / "validation")
    (demo / "linking/validation").mkdir()
    (demo / "linking/validation/report.html").symlink_to(outside / "validation/report.html")
    (demo / "hanging/validation").mkdir()
    os.mkfifo(demo / "hanging/validation/report.html")
    for name in ("whole", "linked", "linking", "hanging"):
        status, text = site.raw(f"{PAGES}/{name}/validation/report.html")
        assert status == 404, name
        assert "stolen" not in text
        assert len(text.splitlines()) == 1
    # One that stays inside is a page like others.
    (demo / "within").mkdir()
    (demo / "within/validation").symlink_to(demo / "refusal/validation")
    assert site.client.get(f"{PAGES}/within/validation/report.html").status_code == 200


def test_pages_are_only_read(site: Site) -> None:
    json = {"content-type": "application/json"}
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = site.client.request(method, REPORT, headers=json, content="{}")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"
        # In another form, the front does not even pass it on.
        assert site.client.request(method, REPORT).status_code == 403
    assert (site.experiments / "demo/refusal/validation/report.html").exists()


def test_the_front_stands_before_them(site: Site) -> None:
    status, text = site.raw(REPORT, host="evil.example")
    assert (status, text.partition(":")[0]) == (403, "refused")
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert site.client.get(REPORT, headers=foreign).status_code == 403
    assert site.client.get(REPORT, headers={"origin": "null"}).status_code == 403


def test_dagsters_pages_are_still_dagsters(site: Site) -> None:
    for address in ("/", "/runs", "/traitvecs", "/assets/traitvec"):
        answer = site.client.get(address)
        assert answer.status_code == 200
        assert "sandbox" not in answer.headers["content-security-policy"]
    query = {"query": "{ version }"}
    assert "version" in site.client.post("/graphql", json=query).json()["data"]


# -- the documentation ----------------------------------------------------------------------------


def test_every_link_of_the_documentation_leads_somewhere(site: Site) -> None:
    names = [page.stem for page in (REPOSITORY / "docs").glob("*.md")]
    pages = {f"/traitvec/docs/{name}.html": "" for name in names}
    for address in pages:
        answer = site.client.get(address)
        assert answer.status_code == 200
        assert "script-src" not in answer.headers["content-security-policy"]
        pages[address] = answer.text
    n_checked = 0
    for address, text in pages.items():
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = urljoin(address, link).partition("#")
            n_checked += 1
            if target in pages:
                assert not anchor or f'id="{anchor}"' in pages[target], f"{address}: {link}"
            else:
                assert site.client.get(target).status_code == 200, f"{address}: {link}"
    assert n_checked > 100
    assert pages["/traitvec/docs/index.html"] == site.client.get("/traitvec/docs/").text
