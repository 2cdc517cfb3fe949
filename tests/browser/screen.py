"""A browser that says what it saw, and `traitvec ui` to look at."""

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
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# A run's process imports torch first, on a machine that does other things too.
PATIENCE_S = 240
# While React draws, what was found may be replaced or lie under something for a moment.
_PASSING = (
    StaleElementReferenceException,
    ElementClickInterceptedException,
    ElementNotInteractableException,
)


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Open Debian's Chromium, without a window and without requests of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", "--window-size=1500,1000", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


class Screen:
    """What a person does at Dagster's pages, by the words that they read there.

    Args:
        driver: The browser.
        address: Where Dagster is served.
        folder: A picture of the screen is left here when something does not come.
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
        """Open an experiment's graph, in a window in which its nodes say what they know."""
        self.driver.set_window_size(2700, 1400)
        self.open(f"locations/traitvec_dagster.definitions/asset-groups/{experiment}/lineage")
        self.wait_for("Latest event", "Materialize all")
        self.wait(lambda: "Loading" not in self.text, lambda: "the graph still loads")

    def open_check(self, stage: str, check: str, trait: str) -> None:
        """Open what a check of the demo found of a trait."""
        self.open(f"assets/demo/{stage}?view=checks&checkDetail={check}")
        # The asset has partitions of its own, which come first.
        self.wait_for("Execution history")
        self.press("Partitions")
        self.wait_for("Partitions Selected", "Select a partition to view details")
        self.press(trait)
        self.wait_for("Target materialization")

    def press(self, label: str) -> None:
        """Press what bears the label; of several, the last, which is the innermost or topmost."""
        self.wait(lambda: self.is_pressed(label), lambda: f"nothing to press says {label!r}")

    def is_pressed(self, label: str) -> bool:
        """Press it if it is there now."""
        # Text that is too long for its place stands in the page twice, once out of sight.
        shown = self._shown(f"//*[normalize-space(text())={label!r}]")
        for element in shown[-1:]:
            element.click()
        return bool(shown)

    def find(self, path: str) -> WebElement:
        """Wait for the element of an XPath; of several, the last that is shown."""
        found: list[WebElement] = self.wait(lambda: self._shown(path), lambda: f"no {path}")
        return found[-1]

    def wait(self, found: Callable[[], Any], complaint: Callable[[], str]) -> Any:
        """Wait until something is found; if it is not, the error says what is there instead."""
        waiting = WebDriverWait(self.driver, PATIENCE_S, 0.3, ignored_exceptions=_PASSING)
        try:
            return waiting.until(lambda _: found())
        except TimeoutException:
            picture = self.folder / f"failed-{time.time_ns()}.png"
            self.driver.save_screenshot(str(picture))
            raise AssertionError(
                f"{complaint()} after {PATIENCE_S} s at {self.driver.current_url};"
                f" picture: {picture}; the page says:\n{self.text}"
            ) from None

    def _shown(self, path: str) -> list[WebElement]:
        found = self.driver.find_elements("xpath", path)
        return [element for element in found if element.is_displayed()]


@contextmanager
def traitvec_ui(folder: Path, log: Path) -> Iterator[str]:
    """Serve a project as a user does; gives the address.

    Raises:
        AssertionError: If it does not come up, or leaves a process behind when it is ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    # Started as a script starts what it leaves in the background: deaf to Ctrl-C.
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
        # A code server waits for its heartbeat, at most 45 s.
        with suppress(AssertionError):
            _wait(lambda: not _of_session(process.pid))
        left = _of_session(process.pid)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=10)
    assert not left, f"left behind when traitvec ui was ended: {left}; log: {log}"


def _wait(is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=5):
            return True
    except OSError:
        return False


def _of_session(leader: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # Processes come and go while one looks.
        with suppress(OSError):
            # After the name in brackets: state, parent, group, session.
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found
