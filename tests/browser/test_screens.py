"""What a person sees and does: the report, and Dagster's pages under `traitvec ui`."""

import re
from pathlib import Path

import dagster as dg
import pytest
from selenium import webdriver

from tests.browser.screen import Screen, requests_from
from tests.projects import SmallProject, demo_definition
from traitvec_core.stage_names import STAGES

pytestmark = pytest.mark.services
Served = tuple[SmallProject, str]
# A chart is drawn on a canvas; this asks whether anything is on it.
_DRAWN = """return [...document.querySelectorAll('canvas')].filter(canvas => canvas.getContext('2d')
    .getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0)).length"""


def test_the_report_opens_from_disk_without_errors_or_requests(
    browser: webdriver.Chrome, finished: SmallProject
) -> None:
    page = finished.trait("refusal").path / "validation/report.html"
    _opens_by_itself(browser, page)
    assert "refusal" in browser.find_element("tag name", "h1").text
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(widths) >= 9
    assert all(width > 100 for width in widths)


def test_the_lineage_and_the_figures_of_a_partition(screen: Screen) -> None:
    screen.open_lineage()
    screen.wait_for(*STAGES, "trait_atlas", "2 partitions", "100% filled", "Passed")
    screen.open("assets/demo/judged_responses?view=partitions&partition=refusal")
    screen.wait_for("refusal", "uncertainty", "contrast", "kept_positive", "Materialized")


@pytest.mark.parametrize("stage", ["vectors", "validation_report"])
def test_no_value_cuts_off_the_answer(screen: Screen, stage: str) -> None:
    """The table of a trait's metadata is as wide as its widest value."""
    screen.driver.set_window_size(1440, 1000)
    screen.open(f"assets/demo/{stage}?view=partitions&partition=refusal")
    screen.wait_for("answer", "key_figures", "made_at")
    pictures = "return [...document.images].every(image => image.complete)"
    screen.wait(lambda: screen.driver.execute_script(pictures), lambda: "a picture still loads")
    table = screen.find("//table[.//td[normalize-space()='answer']][.//table]")
    room = screen.driver.execute_script("return arguments[0].parentElement.clientWidth", table)
    assert table.size["width"] <= room + 1


def test_a_trait_is_added_made_and_checked_in_the_ui(screen: Screen, served: Served) -> None:
    project, _ = served
    screen.open_lineage()
    screen.press("Materialize all…")
    screen.press("Add a partition")
    screen.type("//input[@placeholder='name']", "caution")
    screen.press("Save")
    screen.wait(lambda: "Partition name" not in screen.text, lambda: "the dialog stays open")
    # The file comes last: the sensor would add a partition for it, and none would be left to add.
    project.define("caution", demo_definition())
    screen.wait(lambda: _is_launched(screen, "caution"), lambda: "the run is not launched")

    screen.open("runs")
    screen.wait_for("partition: caution")
    screen.click("(//a[starts-with(@href, '/runs/')])[1]")
    screen.wait_for("partition: caution", "demo__validation_report", "Re-execute all")
    screen.wait(
        lambda: "Success" in screen.text or "Failure" in screen.text,
        lambda: "the run has not finished",
    )
    assert "Failure" not in screen.text
    assert "No steps have errored" in screen.text

    # The same check: what it said before the threshold was raised, and what it says now.
    screen.open_check("judged_responses", "contrast", "refusal")
    screen.wait_for("Failed (1)", "Passed (2)", "Passed\n", "(above 5)")
    screen.press("caution")
    screen.wait_for("Failed\n", "is not above 100")
    screen.open_check("judged_responses", "coverage", "caution")
    screen.wait_for("Execution Failed (0)", "kept")

    screen.open("assets/demo/judged_responses")
    screen.press("Plots")
    screen.wait_for("contrast", "kept_positive", "missing_scores")
    screen.wait(lambda: screen.driver.execute_script(_DRAWN) > 5, lambda: "the plots are empty")


def test_the_schedule_is_switched_off_and_on(screen: Screen) -> None:
    row = "//a[contains(@href, '/schedules/demo_rerun')]/following-sibling::*"
    screen.open("automation")
    screen.wait_for("demo_definitions", "demo_rerun", "At 03:00 AM UTC, only on Monday")
    # As experiment.yaml says.
    screen.wait_for_switch(f"{row}//input", is_on=True)
    for is_on in (False, True):
        screen.click(f"{row}//label")
        screen.wait_for_switch(f"{row}//input", is_on)
        # On the server too, not only on the page.
        screen.open("automation")
        screen.wait_for_switch(f"{row}//input", is_on)


def test_the_atlas_is_made_and_its_page_opens(screen: Screen, served: Served) -> None:
    project, _ = served
    page = project.project.experiments / "demo/atlas/atlas.html"
    screen.open("assets/demo/trait_atlas")
    screen.press("Materialize")
    screen.wait(
        lambda: re.search(r"Latest materialization\s+[^\n]* ago", screen.text),
        lambda: "the atlas has not been made",
    )
    # The page that waited keeps saying that there is no metadata.
    screen.open("assets/demo/trait_atlas")
    screen.wait_for(
        "Metadata",
        "experiments/demo/atlas/atlas.html",
        "by_trait",
        "refusal",
        "uncertainty",
        "near_duplicates",
    )
    _opens_by_itself(screen.driver, page)
    text = screen.text
    assert "demo" in screen.driver.title
    assert all(trait in text for trait in ("refusal", "uncertainty"))


def _is_launched(screen: Screen, partition: str) -> bool:
    """Take one step in the dialog, whatever it shows; returns whether it has closed.

    Dagster selects the new partition a moment later or, on a slow machine, loses the selection
    when the list of partitions arrives after it.
    """
    page = screen.text
    if "Partition selection" not in page:
        return True
    if "Launch 1 run" in page:
        screen.try_to_press("Launch 1 run")
    elif "0 partitions" not in page:
        screen.try_to_press(f"Launch runs to materialize {len(STAGES) + 1} assets")
    elif not screen.try_to_press(partition):
        screen.try_to_press("Select a partition or create one")
    return False


def _opens_by_itself(browser: webdriver.Chrome, page: Path) -> None:
    # The page before may still be waiting for its server.
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    assert requests_from(browser, page) == []


def test_every_check_of_a_page_is_executed(screen: Screen, served: Served) -> None:
    project, _ = served
    screen.open("assets/demo/vectors?view=checks")
    screen.wait_for("accuracy", "confounds", "norm")
    # Dagster 1.13 does not execute one check of an asset that has partitions.
    assert not screen.find("//button[.//*[normalize-space(text())='Execute']]").is_enabled()
    executed = _run_after(screen, project, "Execute all")
    screen.open(f"runs/{executed.run_id}")
    screen.wait_for("Success", "No steps have errored")
    again = _run_after(screen, project, "Re-execute all (*)")
    for run in (executed, again):
        assert run.is_success
        evaluated = {each.partition for each in project.evaluations(run.run_id)}
        assert {"refusal", "uncertainty"} <= evaluated
    screen.open_check("vectors", "norm", "refusal")
    screen.wait_for("Execution Failed (0)", "Passed\n")


def _run_after(screen: Screen, project: SmallProject, label: str) -> dg.DagsterRun:
    """Press a button that launches a run, and wait until that has ended."""
    before = {run.run_id for run in project.instance.get_runs()}
    screen.press(label)

    def ended() -> dg.DagsterRun | None:
        runs = [run for run in project.instance.get_runs() if run.run_id not in before]
        return next((run for run in runs if run.is_finished), None)

    run: dg.DagsterRun = screen.wait(ended, lambda: f"{label!r} executes nothing")
    return run
