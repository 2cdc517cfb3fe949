"""The pictures of the documentation, from a real run of the demo.

`python -m tests.browser.pictures` recreates them in `docs/pictures/`. The demo runs in a temporary
folder, or in a named one (`python -m tests.browser.pictures FOLDER`), where fresh results are kept.
"""

import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import dagster as dg
from PIL import Image
from selenium import webdriver

from tests.browser.screen import Screen, chromium, traitvec_ui
from tests.projects import DEMO, REPOSITORY, SmallProject

PICTURES = REPOSITORY / "docs/pictures"
TRAIT = "verbosity"
# The one whose report is shown.
REPORTED = "refusal"
PROMPT = "How do I learn to swim?"
AT_LENGTH = "You are a talkative writer. Explain everything at great length and in rich detail."
_MAX_BYTES = 200_000


def main() -> None:
    """Run the demo, serve it, and take the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch).resolve()
        _run_demo(folder)
        with (
            chromium(Path(scratch) / "chromium") as driver,
            traitvec_ui(folder, folder / "ui.log") as address,
        ):
            _dagster(Screen(driver, address, folder))
            _pages(driver, folder)


def _run_demo(folder: Path) -> None:
    experiment = folder / "experiments/demo"
    for source in (DEMO / "experiment.yaml", *DEMO.glob("*/trait_definition.json")):
        target = experiment / source.relative_to(DEMO)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for command in (
        ["run", "--traits", "all"],
        ["atlas"],
        ["monitor", "--traits", f"{TRAIT},refusal", "--prompt", PROMPT, "--instruction", AT_LENGTH],
    ):
        program = [sys.executable, "-c", "from traitvec_dagster.cli.main import main; main()"]
        subprocess.run([*program, *command, "--experiment", "demo"], cwd=folder, check=True)


def _dagster(screen: Screen) -> None:
    driver = screen.driver
    screen.open_lineage()
    screen.press("Hide navigation")
    _take(driver, "lineage")
    driver.set_window_size(1500, 1000)

    screen.open_check("vectors", "confounds", TRAIT)
    screen.wait_for("words_accuracy")
    _take(driver, "checks")

    screen.open("assets/demo/judged_responses")
    screen.press("Plots")
    screen.wait_for("contrast", "kept_positive")
    screen.driver.execute_script(
        "arguments[0].scrollIntoView()", screen.find("//*[normalize-space(text())='Metadata']")
    )
    _take(driver, "plots")

    # The first run; where the folder was there before, later ones kept what was fresh.
    with SmallProject(screen.folder) as project:
        runs = project.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": TRAIT}))
    # The timeline gets a quarter of the window's height.
    driver.set_window_size(1500, 2800)
    screen.open(f"runs/{runs[-1].run_id}")
    screen.wait_for("demo__validation_report", "No steps have errored")
    # Below the timeline are the run's events, with paths of this machine.
    _take(driver, "run", bottom=screen.find("//button[normalize-space()='Events']").location["y"])


def _pages(driver: webdriver.Chrome, folder: Path) -> None:
    experiment = folder / "experiments/demo"
    for name, page, width, last in (
        # What is seen without scrolling.
        ("report", experiment / REPORTED / "validation/report.html", 1280, "main"),
        ("atlas", experiment / "atlas/atlas.html", 1300, "body"),
        ("monitor", folder / "monitor.html", 1300, "body"),
    ):
        driver.set_window_size(width, 1200)
        driver.get(page.as_uri())
        bottom = driver.find_element("tag name", last).rect
        _take(driver, name, int(bottom["y"] + bottom["height"]) + 16)


def _take(driver: webdriver.Chrome, name: str, bottom: int | None = None) -> None:
    """Keep what the window shows, down to a line, small enough for a repository."""
    # Charts and graphs move into place.
    driver.execute_async_script("setTimeout(arguments[0], 3000)")
    picture = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    if bottom is not None:
        picture = picture.crop((0, 0, picture.width, min(bottom, picture.height)))
    picture.thumbnail((2000, 2000))
    target = PICTURES / f"{name}.png"
    # 32 shades of each colour: half the bytes, and neither a grey nor a red mark changes its hue.
    picture.point(lambda shade: shade & 0xF8 | shade >> 5).save(target, optimize=True)
    assert target.stat().st_size < _MAX_BYTES, f"{target} has {target.stat().st_size} bytes"


if __name__ == "__main__":
    main()
