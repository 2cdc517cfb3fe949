"""A browser that waits for what it touches, and `traitvec ui` to look at.

Dagster's pages are drawn after they are loaded, piece by piece. So a test never looks an element up
at once: it waits for it with `find`, `press`, `wait_for`, or for a state of it with `wait`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from traitvec_dagster.project import LOCATION_NAME

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# A run's process imports torch first, on a machine that may be busy.
PATIENCE_S = 240
# While React draws, an element may be missing, replaced or covered for a moment.
_PASSING = (
    NoSuchElementException,
    StaleElementReferenceException,
    ElementClickInterceptedException,
    ElementNotInteractableException,
)


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[webdriver.Chrome]:
    """Open Debian's Chromium, without a window and without background requests."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", "--window-size=1500,1000", f"--user-data-dir={profile}", *flags,
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def requests_from(driver: webdriver.Chrome, page: Path) -> list[str]:
    """The addresses that a page from disk has requested over the network since the last call.

    Requests of a page that was open before it are not counted, however late they are logged.
    """
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    urls = [one["request"]["url"] for one in sent if one["documentURL"] == page.as_uri()]
    return [url for url in urls if url.startswith("http")]


class Screen:
    """What a person does on Dagster's pages, in terms of the words they read there.

    Args:
        driver: The browser.
        address: Where Dagster is served.
        folder: Where a screenshot is saved when a wait times out.
    """

    def __init__(self, driver: webdriver.Chrome, address: str, folder: Path) -> None:
        self.driver = driver
        self.address = address
        self.folder = folder

    @property
    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def open(self, page: str) -> None:
        self.driver.get(f"{self.address}/{page}")

    def wait_for(self, *texts: str) -> None:
        """Wait until all texts are on the page."""

        def missing() -> list[str]:
            page = self.text
            return [text for text in texts if text not in page]

        self.wait(lambda: not missing(), lambda: f"no {missing()} on the page")

    def open_lineage(self, experiment: str = "demo") -> None:
        """Open an experiment's graph, in a window large enough for its nodes to show details."""
        self.driver.set_window_size(2700, 1400)
        self.open(f"locations/{LOCATION_NAME}/asset-groups/{experiment}/lineage")
        self.wait_for("Latest event", "Materialize all")
        self.wait(lambda: "Loading" not in self.text, lambda: "the graph still loads")

    def open_check(self, stage: str, check: str, trait: str) -> None:
        """Open the result of one of the demo's checks for a trait."""
        self.open(f"assets/demo/{stage}?view=checks&checkDetail={check}")
        # The asset's own partitions are shown first.
        self.wait_for("Execution history")
        self.press("Partitions")
        self.wait_for("Partitions Selected", "Select a partition to view details")
        self.press(trait)
        self.wait_for("Target materialization")

    def press(self, label: str) -> None:
        """Wait for the element with the label, and click it.

        Of several, the last is clicked, which is the innermost or topmost.
        """
        self.wait(lambda: self.try_to_press(label), lambda: f"nothing to press says {label!r}")

    def try_to_press(self, label: str) -> bool:
        """Click the element with the label if it is shown now; returns whether it was."""
        # Text that is too long for its place is in the page twice, once out of sight.
        return self._click(f"//*[normalize-space(text())={label!r}]")

    def click(self, path: str) -> None:
        """Wait for the element of an XPath, and click it; of several, the last that is shown."""
        self.wait(lambda: self._click(path), lambda: f"nothing to click at {path}")

    def type(self, path: str, text: str) -> None:
        """Wait for the field of an XPath, and fill it in."""

        def is_filled_in() -> bool:
            field = self._shown(path)[-1:]
            if field and field[0].get_attribute("value") != text:
                field[0].clear()
                field[0].send_keys(text)
            return bool(field) and field[0].get_attribute("value") == text

        self.wait(is_filled_in, lambda: f"{path} cannot be filled in")

    def find(self, path: str) -> WebElement:
        """Wait for the element of an XPath; of several, the last that is shown."""
        elements: list[WebElement] = self.wait(lambda: self._shown(path), lambda: f"no {path}")
        return elements[-1]

    def wait_for_switch(self, path: str, is_on: bool) -> None:
        """Wait until the checkbox of an XPath is drawn and switched on, or off.

        The checkbox itself may be hidden behind a styled label.
        """

        def is_so() -> bool:
            return self.driver.find_element("xpath", path).is_selected() == is_on

        self.wait(is_so, lambda: f"the switch {path} is not {'on' if is_on else 'off'}")

    def wait(self, condition: Callable[[], Any], complaint: Callable[[], str]) -> Any:
        """Wait until a condition holds, and return its value; the error shows the page instead.

        A condition may look elements up: while one is missing or being redrawn, it does not hold.
        """
        waiting = WebDriverWait(self.driver, PATIENCE_S, 0.3, ignored_exceptions=_PASSING)
        try:
            return waiting.until(lambda _: condition())
        except TimeoutException:
            picture = self.folder / f"failed-{time.time_ns()}.png"
            self.driver.save_screenshot(str(picture))
            raise AssertionError(
                f"{complaint()} after {PATIENCE_S} s at {self.driver.current_url};"
                f" picture: {picture}; the page says:\n{self.text}"
            ) from None

    def _click(self, path: str) -> bool:
        shown = self._shown(path)
        for element in shown[-1:]:
            element.click()
        return bool(shown)

    def _shown(self, path: str) -> list[WebElement]:
        elements = self.driver.find_elements("xpath", path)
        return [element for element in elements if element.is_displayed()]


@contextmanager
def traitvec_ui(folder: Path, log: Path) -> Iterator[str]:
    """Serve a project as a user does; yields the address.

    Raises:
        AssertionError: If it does not start, or leaves a process behind when it ends.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    # As a script starts a background command: with Ctrl-C ignored.
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh",
               sys.executable, "-c", "from traitvec_dagster.cli.main import main; main()",
               "ui", "--port", str(port)]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(lambda: process.poll() is not None or _answers(address))
        assert process.poll() is None, f"traitvec ui ended:\n{log.read_text()[-2000:]}"
        yield address
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        # A code server ends when its heartbeat stops, after 45 s at most.
        with suppress(AssertionError):
            _wait(lambda: not _of_session(process.pid))
        left = _of_session(process.pid)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=10)
    assert not left, f"left behind when traitvec ui was ended: {left}; log: {log}"


def _wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s"
        time.sleep(0.5)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=5):
            return True
    except OSError:
        return False


def _of_session(leader: int) -> list[int]:
    """Processes of a session that are still running."""
    running = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # Processes come and go in the meantime.
        with suppress(OSError):
            # After the name in brackets: state, parent, group, session.
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                running.append(int(stat.parent.name))
    return running
