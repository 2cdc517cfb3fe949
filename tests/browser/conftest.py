"""The browser, and a finished project under `traitvec ui`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.screen import CHROMIUM, DRIVER, Screen, chromium, traitvec_ui
from tests.projects import SMALL, SmallProject


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Debian's chromium and chromium-driver are missing")
    with chromium(tmp_path / "chromium") as driver:
        yield driver


@pytest.fixture(scope="module")
def served(
    finished_folder: Path, tmp_path_factory: pytest.TempPathFactory, own_module_environment: None
) -> Iterator[tuple[SmallProject, str]]:
    """A copy of the finished project, and where `traitvec ui` serves it.

    Since it was finished it was given a schedule, and a contrast that no trait can reach.
    """
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Debian's chromium and chromium-driver are missing")
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(finished_folder, folder, dirs_exist_ok=True)
    with SmallProject(folder) as project:
        project.set(
            schedule={"cron": "0 3 * * 1"},
            thresholds={**SMALL["thresholds"], "contrast": 100, "contrast_warning": 100},
        )
        with traitvec_ui(folder, folder / "ui.log") as address:
            yield project, address


@pytest.fixture
def screen(browser: webdriver.Chrome, served: tuple[SmallProject, str], tmp_path: Path) -> Screen:
    return Screen(browser, served[1], tmp_path)
