"""Reports under `traitvec ui` in a real browser: one click away, and without power over Dagster."""

import json
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.screen import PATIENCE_S, Screen, requests_from
from tests.graph.webserver import LAUNCH, launch_variables, run_ids
from tests.projects import SmallProject

# Variables of `LAUNCH`, for a run that takes seconds.
A_RUN = launch_variables("demo_traits", {"dagster/partition": "refusal"}, [["demo", "definition"]])

pytestmark = pytest.mark.services
Served = tuple[SmallProject, str]
PAGES = "traitvec/experiments/demo"
REPORT = f"{PAGES}/refusal/validation/report.html"
# What a report that somebody else wrote may try, once scripts of its own run. Each answer is what
# it got; `blocked` where the browser or the server refused.
ATTACK = """
const [query, variables, done] = arguments;
const blocked = () => 'blocked';
const late = promise => Promise.race(
  [promise, new Promise(resolve => setTimeout(() => resolve('blocked'), 3000))]);
const attempt = async action => { try { return await action(); } catch { return 'blocked'; } };
const inUrl = '/graphql?query=' + encodeURIComponent(query)
  + '&variables=' + encodeURIComponent(JSON.stringify(variables));
const read = (address, options) => fetch(address, options).then(r => r.text()).then(
  text => text.startsWith('refused') ? 'blocked' : text || 'blocked');
const load = (tag, attribute, address) => new Promise(resolve => {
  const element = document.createElement(tag);
  element.onload = () => resolve('loaded');
  element.onerror = blocked;
  element[attribute] = address;
  document.body.append(element);
});
const body = JSON.stringify({query, variables});
const headers = {'content-type': 'application/json'};
const tries = {
  post: () => read('/graphql', {method: 'POST', body, headers}),
  plain: () => read('/graphql', {method: 'POST', body, mode: 'no-cors'}),
  get: () => read(inUrl),
  page: () => read('/runs'),
  // Chromium says that it is on its way also when it is not: the runs show what it did.
  beacon: () => navigator.sendBeacon('/graphql', body) && 'blocked',
  image: () => load('img', 'src', inUrl),
  script: () => load('script', 'src', '/server_info'),
  socket: () => new Promise(resolve => {
    const socket = new WebSocket('ws://' + location.host + '/graphql', 'graphql-ws');
    socket.onopen = () => resolve('opened');
  }),
  form: () => new Promise(resolve => {
    const form = Object.assign(document.createElement('form'), {method: 'POST', action: inUrl});
    document.body.append(form);
    addEventListener('beforeunload', () => resolve('sent'));
    form.submit();
  }),
  cookies: () => document.cookie === '' ? 'none' : document.cookie,
  storage: () => String(localStorage.length),
  frame: () => new Promise(resolve => {
    const frame = document.createElement('iframe');
    frame.src = '/runs';
    frame.onload = () => { try { resolve(frame.contentDocument.body.innerText); } catch {} };
    document.body.append(frame);
  }),
  window: () => window.open('/runs') ? 'opened' : 'blocked',
  worker: () => navigator.serviceWorker.register('/traitvec/worker.js').then(() => 'registered'),
  opener: () => window.opener ? window.opener.location.href : 'blocked',
  parent: () => parent === window ? 'blocked' : parent.document.title,
  top: () => top === window ? 'blocked' : (top.location = '/traitvec/', 'navigated'),
};
(async () => {
  const got = {};
  for (const [name, action] of Object.entries(tries)) got[name] = await late(attempt(action));
  done(got);
})();
"""
HOSTILE = """<!doctype html><title>innocent</title><body>
<script>document.title = 'a script ran'</script>
<img src=x onerror="document.title = 'a handler ran'">
<a id=go href="javascript:document.title='a link ran'">report</a>
<iframe srcdoc="<script>top.document.title = 'a frame ran'</script>"></iframe>
<form id=form method=post action=/graphql><input name=query></form>
</body>"""


@pytest.fixture
def hostile(served: Served) -> Path:
    """A report that the project's author has put in the place of ours."""
    project, _ = served
    page = project.trait("uncertainty").path / "validation/report.html"
    page.write_text(HOSTILE)
    return page


def _links(screen: Screen, page: str) -> str:
    return f"//a[@href='/{page}' and normalize-space(text())!='']"


def _follow(screen: Screen, page: str) -> None:
    """Click a link of Dagster's, once, and look at the tab that it opens."""
    (here,) = screen.driver.window_handles
    screen.click(_links(screen, page))
    screen.wait(lambda: len(screen.driver.window_handles) == 2, lambda: "no tab opens")
    (opened,) = set(screen.driver.window_handles) - {here}
    screen.driver.switch_to.window(opened)


def test_the_report_is_one_click_from_the_partition_and_works(screen: Screen) -> None:
    screen.open("assets/demo/validation_report?view=partitions&partition=refusal")
    screen.wait_for("answer", "report_file", "experiments/demo/refusal/validation/report.html")
    # The picture is there before anything is clicked.
    width = """return [...document.images].filter(image => image.src.endsWith(
        '/refusal/validation/plot.svg')).map(image => image.naturalWidth)[0]"""
    screen.wait(
        lambda: (screen.driver.execute_script(width) or 0) > 300, lambda: "no picture is shown"
    )
    _follow(screen, REPORT)
    screen.wait(lambda: screen.driver.title == "refusal · demo · traitvec", lambda: "no report")
    driver = screen.driver
    assert driver.current_url == f"{screen.address}/{REPORT}"
    assert driver.execute_script("return [window.origin, window.opener]") == ["null", None]
    widths = driver.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(widths) >= 9
    assert all(width > 100 for width in widths)
    button = driver.find_element("class name", "copy")
    button.click()
    assert button.text == "Copied"
    driver.find_element("link text", "Examples").click()
    assert driver.current_url.endswith("#examples")
    top = "return document.getElementById('examples').getBoundingClientRect().top"
    assert driver.execute_script(top) < 1000
    assert [entry for entry in driver.get_log("browser") if REPORT in entry["message"]] == []

    # To the documentation, and to everything else there is to read.
    advice = driver.find_element("css selector", "a[data-served*='troubleshooting']")
    section = str(advice.get_attribute("href")).partition("#")[2]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", advice)
    advice.click()
    screen.wait(lambda: "Troubleshooting" in driver.title, lambda: "no documentation")
    assert driver.find_element("id", section).rect["y"] >= 0
    driver.back()
    screen.wait(lambda: "refusal" in driver.title, lambda: "no way back")
    driver.find_element("link text", "All reports").click()
    screen.wait_for("Reports", "demo", "refusal", "uncertainty")
    driver.find_element("link text", "refusal").click()
    screen.wait(lambda: driver.current_url.endswith(REPORT), lambda: "no report")


def test_the_report_is_one_click_from_the_end_of_the_runs_log(
    screen: Screen, served: Served
) -> None:
    project, _ = served
    run = next(run for run in project.instance.get_runs() if run.tags.get("dagster/partition"))
    trait = run.tags["dagster/partition"]
    screen.open(f"runs/{run.run_id}")
    # The log opens at its end, and what is out of sight is not drawn.
    screen.wait_for("RUN_SUCCESS", "Finished execution of run")
    _follow(screen, f"{PAGES}/{trait}/validation/report.html")
    screen.wait(lambda: trait in screen.driver.title, lambda: "no report")


def test_a_failed_check_leads_to_its_section(screen: Screen, served: Served) -> None:
    project, _ = served
    failed = [
        (each.check_name, each.metadata["help"].value)
        for run in project.instance.get_runs()
        for each in project.evaluations(run.run_id)
        if not each.passed and each.asset_key.path[-1] == "vectors"
    ]
    assert failed
    name, address = failed[0]
    screen.open(f"assets/demo/vectors?view=checks&checkDetail={name}")
    screen.wait_for("advice")
    _follow(screen, str(address).removeprefix("/"))
    screen.wait(lambda: "Troubleshooting" in screen.driver.title, lambda: "no documentation")
    assert screen.driver.find_element("id", str(address).partition("#")[2]).is_displayed()


def test_on_disk_the_report_has_no_link_that_leads_nowhere(
    browser: webdriver.Chrome, finished: SmallProject
) -> None:
    page = finished.trait("refusal").path / "validation/report.html"
    browser.get(page.as_uri())
    links = browser.execute_script(
        "return [...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href'))"
    )
    assert links
    assert all(link.startswith("#") for link in links)
    assert "See docs/troubleshooting.md#" in browser.find_element("id", "checks").find_element(
        "xpath", "following::table[1]"
    ).text  # fmt: skip
    assert requests_from(browser, page) == []


def _attack(driver: webdriver.Chrome) -> dict[str, str]:
    """Run the attack inside of the page, as if its policy had let its script run."""
    got: dict[str, str] = driver.execute_async_script(ATTACK, LAUNCH, A_RUN)
    return got


def test_a_hostile_report_runs_nothing_and_reaches_nothing(
    screen: Screen, served: Served, hostile: Path
) -> None:
    project, ui = served
    before = run_ids(project)
    driver = screen.driver
    driver.set_script_timeout(PATIENCE_S)
    screen.open("assets/demo/validation_report?view=partitions&partition=uncertainty")
    _follow(screen, f"{PAGES}/uncertainty/validation/report.html")
    screen.wait(lambda: "report" in screen.text, lambda: "the page is not shown")
    driver.find_element("id", "go").click()
    assert driver.title == "innocent"
    got = _attack(driver)
    assert {name: what for name, what in got.items() if what != "blocked"} == {}
    assert driver.current_url == f"{ui}/{PAGES}/uncertainty/validation/report.html"
    assert len(driver.window_handles) == 2
    assert run_ids(project) == before


def test_nor_does_it_from_a_frame_of_dagsters_page(
    screen: Screen, served: Served, hostile: Path
) -> None:
    project, ui = served
    before = run_ids(project)
    driver = screen.driver
    driver.set_script_timeout(PATIENCE_S)
    screen.open("runs")
    screen.wait_for("Runs")
    driver.execute_script(
        "document.body.append(Object.assign(document.createElement('iframe'),"
        " {id: 'framed', src: arguments[0]}))",
        f"/{PAGES}/uncertainty/validation/report.html",
    )
    driver.switch_to.frame("framed")
    screen.wait(lambda: driver.find_elements("id", "go"), lambda: "the page is not framed")
    got = _attack(driver)
    assert {name: what for name, what in got.items() if what != "blocked"} == {}
    driver.switch_to.default_content()
    assert driver.current_url == f"{ui}/runs"
    assert run_ids(project) == before


def test_the_same_attack_from_dagsters_own_page_would_launch(
    screen: Screen, served: Served
) -> None:
    """Otherwise the two tests above would show nothing."""
    project, _ = served
    before = run_ids(project)
    screen.driver.set_script_timeout(PATIENCE_S)
    screen.open("runs")
    screen.wait_for("Runs")
    body = {"query": LAUNCH, "variables": A_RUN}
    text = screen.driver.execute_async_script(
        "const [body, done] = arguments; fetch('/graphql', {method: 'POST', body, headers:"
        " {'content-type': 'application/json'}}).then(r => r.text()).then(done)",
        json.dumps(body),
    )
    (run_id,) = run_ids(project) - before
    assert run_id in text
    screen.wait(
        lambda: (run := project.instance.get_run_by_id(run_id)) is not None and run.is_finished,
        lambda: "the run does not end",
    )
