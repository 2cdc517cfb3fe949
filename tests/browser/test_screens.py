"""What a person sees: the report and Dagster's pages, in a real browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import SmallProject
from traitvec_core.provenance import STAGES

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="Debian's chromium and chromium-driver are missing"
)
_PATIENCE_S = 60


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--window-size=1500,1000", f"--user-data-dir={tmp_path / 'chromium'}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def webserver(finished: SmallProject) -> Iterator[str]:
    """Dagster's webserver over the finished project, on a free port of the loopback."""
    finished.project.enter()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster_webserver", "-m", "traitvec_dagster.definitions",
         "-h", "127.0.0.1", "-p", str(port)],
        cwd=finished.folder, env=dict(os.environ),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{address}/server_info", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(browser: webdriver.Chrome, *texts: str) -> None:
    def shows(driver: webdriver.Chrome) -> bool:
        page = driver.execute_script("return document.body.innerText")
        return all(text in page for text in texts)

    WebDriverWait(browser, _PATIENCE_S).until(shows, f"waited for {texts}")


def test_the_report_opens_from_disk_without_errors_or_requests(
    browser: webdriver.Chrome, finished: SmallProject
) -> None:
    page = finished.trait("refusal").path / "validation/report.html"
    browser.get(page.as_uri())
    assert "refusal" in browser.find_element("tag name", "h1").text
    assert browser.get_log("browser") == []
    requested = [entry for entry in browser.get_log("performance") if '"http' in entry["message"]]
    assert not [entry for entry in requested if "requestWillBeSent" in entry["message"]]
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(widths) >= 9
    assert all(width > 100 for width in widths)


def test_dagster_shows_lineage_partitions_and_checks(
    browser: webdriver.Chrome, webserver: str
) -> None:
    browser.get(f"{webserver}/asset-groups")
    _wait_for(browser, *STAGES)
    browser.get(f"{webserver}/assets/demo/judged_responses?view=partitions&partition=refusal")
    _wait_for(browser, "refusal", "uncertainty", "contrast", "kept_positive", "Materialized")
    browser.get(f"{webserver}/assets/demo/vectors?view=checks&checkDetail=accuracy")
    _wait_for(browser, "accuracy", "norm", "held-out probe accuracy")
