"""How many clicks it takes from a file to a verdict, and from a finished run to its report."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium import webdriver

from tests.browser.screen import CHROMIUM, DRIVER, Screen, traitvec_ui
from tests.projects import FEW_VECTORS, SmallProject, demo_definition
from traitvec_core.report.verdict_badge import VERDICT_BADGES

pytestmark = pytest.mark.services
_VERDICTS = [badge for verdict, badge in VERDICT_BADGES.items() if verdict is not None]


class CountingScreen(Screen):
    """A screen that counts the clicks."""

    clicks = 0

    def _click(self, path: str) -> bool:
        has_clicked = super()._click(path)
        self.clicks += has_clicked
        return has_clicked

    def open_in_new_tab(self, page: str) -> str:
        """Open a page beside the one that is shown, and go on there; returns the other tab."""
        here = str(self.driver.current_window_handle)
        self.driver.switch_to.new_window("tab")
        self.open(page)
        return here

    def wait_for_verdict(self, trait: str) -> str:
        """Wait on the list of reports until the trait has a verdict, and return it."""

        def verdict() -> str:
            rows = self.driver.find_elements("xpath", f"//tr[td[1][normalize-space()='{trait}']]")
            badges = [row.find_element("class name", "badge").text for row in rows]
            return next((badge for badge in badges if badge in _VERDICTS), "")

        return str(self.wait(verdict, lambda: f"{trait} has no verdict"))


@pytest.fixture(scope="module")
def served(
    finished_folder: Path, tmp_path_factory: pytest.TempPathFactory, own_module_environment: None
) -> Iterator[tuple[SmallProject, str]]:
    """A copy of the finished project in the UI, where a further trait takes seconds."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Debian's chromium and chromium-driver are missing")
    folder = tmp_path_factory.mktemp("clicks")
    shutil.copytree(finished_folder, folder, dirs_exist_ok=True)
    with SmallProject(folder) as project:
        project.set(**FEW_VECTORS)
        with traitvec_ui(folder, folder / "ui.log") as address:
            yield project, address


@pytest.fixture
def counting(
    browser: webdriver.Chrome, served: tuple[SmallProject, str], tmp_path: Path
) -> CountingScreen:
    return CountingScreen(browser, served[1], tmp_path)


def test_from_a_file_to_a_verdict_in_three_clicks(
    counting: CountingScreen, served: tuple[SmallProject, str]
) -> None:
    project, _ = served
    counting.open("traitvec/")
    project.define("caution", demo_definition())
    reports = counting.open_in_new_tab("locations/traitvec/asset-groups/demo/lineage")
    counting.wait(
        lambda: project.instance.has_dynamic_partition("traits/demo", "caution"),
        lambda: "the file does not become a partition",
    )
    counting.press("Materialize all…")
    counting.wait_for("Partition selection", "Missing")
    counting.press("Missing")
    counting.wait_for("1 partition", "caution")
    counting.press("Launch 1 run")
    counting.driver.switch_to.window(reports)
    # The list asks again by itself.
    counting.wait_for_verdict("caution")
    assert counting.clicks == 3
    counting.click("//a[normalize-space()='caution']")
    counting.wait(lambda: "caution" in counting.driver.title, lambda: "no report")
    assert counting.clicks == 4


def test_from_the_new_trait_job_to_a_verdict_in_two_clicks(
    counting: CountingScreen, served: tuple[SmallProject, str]
) -> None:
    # Typed or pasted by a person; this address fills the editor in.
    definition = demo_definition("uncertainty")
    config = {
        "name": "doubt", "pairs": definition["instruction"],
        "questions": definition["questions"], "rubric": definition["eval_prompt"],
    }  # fmt: skip
    text = quote(json.dumps({"ops": {"new_trait": {"config": config}}}))
    counting.open(f"locations/traitvec/jobs/demo_new_trait/playground/setup?config={text}")
    counting.wait_for("doubt", "No errors", "No missing config")
    # Until the config is checked, the button is there and does nothing.
    counting.find("//button[not(@disabled)][.//*[normalize-space(text())='Launch Run']]")
    counting.press("Launch Run")
    counting.wait_for("RUN_SUCCESS")
    (here,) = counting.driver.window_handles
    counting.click("//a[contains(@href, '#demo/doubt') and normalize-space(text())!='']")
    counting.wait(lambda: len(counting.driver.window_handles) == 2, lambda: "no tab opens")
    (opened,) = set(counting.driver.window_handles) - {here}
    counting.driver.switch_to.window(opened)
    counting.wait_for_verdict("doubt")
    assert counting.clicks == 2


def test_from_a_finished_run_to_the_report_in_one_click(
    counting: CountingScreen, served: tuple[SmallProject, str]
) -> None:
    project, _ = served
    trait = "refusal"
    assert project.run(trait).is_success
    (run,) = project.instance.get_runs(limit=1)
    counting.open(f"runs/{run.run_id}")
    counting.wait_for("RUN_SUCCESS", "no: monitoring_prompts is empty")
    # The log ends with the verdict.
    assert any(f"{verdict}: mean_diff at layer 3" in counting.text for verdict in _VERDICTS)
    counting.click(f"//a[contains(@href, '/{trait}/validation/report.html') and normalize-space()]")
    counting.wait(lambda: len(counting.driver.window_handles) == 2, lambda: "no tab opens")
    counting.driver.switch_to.window(counting.driver.window_handles[-1])
    counting.wait(lambda: trait in counting.driver.title, lambda: "no report")
    assert counting.clicks == 1


def test_from_a_file_to_a_verdict_without_a_click(
    counting: CountingScreen, served: tuple[SmallProject, str]
) -> None:
    project, _ = served
    project.set(auto_run=True)
    counting.open("traitvec/")
    project.define("hesitation", demo_definition())
    counting.wait_for_verdict("hesitation")
    assert counting.clicks == 0
