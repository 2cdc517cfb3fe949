"""Pages of other sites, in a real browser, against `traitvec ui`: they start and read nothing."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.screen import CHROMIUM, DRIVER, PATIENCE_S, chromium
from tests.graph.webserver import LAUNCH, launch_variables, run_ids
from tests.ports import served
from tests.projects import SmallProject

# Variables of `LAUNCH`, for a run that takes seconds.
A_RUN = launch_variables("demo_traits", {"dagster/partition": "refusal"}, [["demo", "definition"]])

pytestmark = pytest.mark.services
Served = tuple[SmallProject, str]
# Names of other sites, which the browser resolves to this machine: as DNS rebinding does.
EVIL = "evil.example"
RUNS = "{ runsOrError { ... on Runs { results { runId } } } }"
# Every way in which a page can send the same mutation. Each ends with what the page could read.
ATTACK = """
const [ui, query, variables, done] = arguments;
const url = ui + '/graphql';
const json = JSON.stringify({query, variables});
const inUrl = '?query=' + encodeURIComponent(query)
  + '&variables=' + encodeURIComponent(JSON.stringify(variables));
const read = promise => promise.then(r => r.text()).catch(() => 'nothing');
const load = (tag, attribute, address) => new Promise(resolve => {
  const element = document.createElement(tag);
  element.onload = () => resolve('loaded');
  element.onerror = () => resolve('nothing');
  element[attribute] = address;
  document.body.append(element);
});
const post = (type, mode, address, body) => read(fetch(address, {
  method: 'POST', mode, credentials: 'include', body, headers: {'content-type': type}}));
const socket = () => new Promise(resolve => {
  const ws = new WebSocket(ui.replace('http', 'ws') + '/graphql', 'graphql-ws');
  ws.onopen = () => resolve('opened');
  ws.onerror = () => resolve('nothing');
});
const form = () => new Promise(resolve => {
  const frame = document.createElement('iframe');
  frame.name = 'target';
  document.body.append(frame);
  const element = document.createElement('form');
  element.method = 'POST';
  element.action = url + inUrl;
  element.target = 'target';
  document.body.append(element);
  frame.onload = () => setTimeout(() => resolve('nothing'), 500);
  element.submit();
});
(async () => done({
  image: await load('img', 'src', url + inUrl),
  script: await load('script', 'src', url + inUrl),
  get: await read(fetch(url + inUrl, {mode: 'no-cors'})),
  plain: await post('text/plain', 'no-cors', url + inUrl, json),
  plain_cors: await post('text/plain', 'cors', url + inUrl, json),
  urlencoded: await post('application/x-www-form-urlencoded', 'no-cors', url + inUrl, ''),
  json: await post('application/json', 'cors', url, json),
  smuggled: await post('text/plain; application/json', 'no-cors', url, json),
  form: await form(),
  websocket: await socket(),
  logs: await load('script', 'src', ui + '/server_info'),
}))();
"""
READ = """
const [address, body, done] = arguments;
fetch(address, body && {method: 'POST', body, headers: {'content-type': 'application/json'}})
  .then(async r => done([r.status, await r.text()])).catch(e => done([0, String(e)]));
"""
# The messages that a subscription to a run's log brings, as Dagster's page asks for them.
LOG = """
const [ui, query, runId, done] = arguments;
const ws = new WebSocket(ui.replace('http', 'ws') + '/graphql', 'graphql-ws');
ws.onopen = () => {
  ws.send(JSON.stringify({type: 'connection_init'}));
  ws.send(JSON.stringify({type: 'start', id: '1', payload: {query, variables: {runId}}}));
};
ws.onmessage = event => {
  const message = JSON.parse(event.data);
  if (message.type === 'data') done(JSON.stringify(message.payload));
  if (message.type === 'error') done('error ' + event.data);
};
ws.onerror = () => done('refused');
"""
SUBSCRIPTION = """subscription($runId: ID!) { pipelineRunLogs(runId: $runId) {
  ... on PipelineRunLogsSubscriptionSuccess { messages { __typename } } } }"""


class _BlankPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body></body>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def other_port() -> Iterator[int]:
    """The port of another server on this machine, with a blank page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _BlankPage)
    with served(server):
        yield server.server_port


@pytest.fixture
def fooled(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A browser for which evil.example is this machine."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Debian's chromium and chromium-driver are missing")
    rules = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"
    with chromium(tmp_path / "chromium", rules) as driver:
        driver.set_script_timeout(PATIENCE_S)
        yield driver


@pytest.mark.parametrize("site", [EVIL, "127.0.0.1", "localhost"])
def test_a_page_of_another_origin_launches_and_reads_nothing(
    fooled: webdriver.Chrome, served: Served, other_port: int, site: str
) -> None:
    project, ui = served
    before = run_ids(project)
    fooled.get(f"http://{site}:{other_port}/")
    fooled.get_log("performance")
    got = fooled.execute_async_script(ATTACK, ui, LAUNCH, A_RUN)
    assert run_ids(project) == before
    # An answer without CORS is opaque: its text is empty, whatever the server said.
    assert {name: said for name, said in got.items() if said not in {"nothing", ""}} == {}
    statuses = _statuses(fooled, ui)
    # They were sent, and refused: images, scripts, forms, fetches.
    assert len(statuses) >= 6
    assert set(statuses) == {403}


def test_a_rebound_name_reads_and_launches_nothing(
    fooled: webdriver.Chrome, served: Served
) -> None:
    project, ui = served
    before = run_ids(project)
    rebound = ui.replace("127.0.0.1", EVIL)
    fooled.get(rebound)
    page = str(fooled.execute_script("return document.body.innerText"))
    assert page.startswith(f"refused: the UI does not answer Host '{EVIL}:")
    # To the browser, this is now the same origin.
    launch = json.dumps({"query": LAUNCH, "variables": A_RUN})
    for path, body in (
        ("/server_info", None), ("/runs", None), ("/graphql?query=" + quote(RUNS), None),
        ("/graphql", json.dumps({"query": RUNS})), ("/graphql", launch),
    ):  # fmt: skip
        status, text = fooled.execute_async_script(READ, rebound + path, body)
        assert status == 403
        assert text.startswith("refused: the UI does not answer Host")
    log = fooled.execute_async_script(LOG, rebound, SUBSCRIPTION, next(iter(before), "none"))
    assert log == "refused"
    assert run_ids(project) == before


def test_the_uis_own_page_launches_and_follows_the_log(
    fooled: webdriver.Chrome, served: Served
) -> None:
    project, ui = served
    before = run_ids(project)
    fooled.get(f"{ui}/runs")
    WebDriverWait(fooled, PATIENCE_S).until(lambda _: "Runs" in _text(fooled))
    launch = json.dumps({"query": LAUNCH, "variables": A_RUN})
    status, text = fooled.execute_async_script(READ, f"{ui}/graphql", launch)
    assert status == 200, text
    (run_id,) = run_ids(project) - before
    assert run_id in text
    log = fooled.execute_async_script(LOG, ui, SUBSCRIPTION, run_id)
    assert "__typename" in log, log

    # Dagster's own page of the run gets its events over a websocket, too.
    fooled.get_log("performance")
    fooled.get(f"{ui}/runs/{run_id}")

    def is_done() -> bool:
        run = project.instance.get_run_by_id(run_id)
        return run is not None and run.is_finished

    WebDriverWait(fooled, PATIENCE_S).until(lambda _: is_done())
    WebDriverWait(fooled, PATIENCE_S).until(
        lambda _: "Success" in _text(fooled) and "demo__definition" in _text(fooled)
    )
    frames = [
        event["params"]["response"]["payloadData"]
        for event in _events(fooled, "Network.webSocketFrameReceived")
    ]
    assert any("pipelineRunLogs" in frame for frame in frames)
    run = project.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.SUCCESS


def _text(driver: webdriver.Chrome) -> str:
    return str(driver.execute_script("return document.body.innerText"))


def _statuses(driver: webdriver.Chrome, ui: str) -> list[int]:
    """The status of every answer of the UI that the page's requests got."""
    return [
        event["params"]["response"]["status"]
        for event in _events(driver, "Network.responseReceived")
        if event["params"]["response"]["url"].startswith(ui)
    ]


def _events(driver: webdriver.Chrome, method: str) -> list[dict[str, Any]]:
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [event for event in events if event["method"] == method]
