"""Tables fit the window: none scrolls sideways on a laptop, and the wide ones turn on a phone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from selenium import webdriver

from tests.atlas.written_traits import directions, write_settings, write_trait
from tests.models.architectures import make_model
from tests.report.reports import make_report, steering_evaluation
from traitvec_core.atlas import build_atlas
from traitvec_core.dynamics import WatchedVector, trace
from traitvec_core.report.atlas_page import build_atlas_page
from traitvec_core.report.monitor_page import build_monitor_page

pytestmark = pytest.mark.services
LONG = "a_trait_with_a_name-that-goes-on-for-sixty-characters-or-so"
LAPTOP, PHONE = 1440, 390
# Tables that are wider than their box, by their first words; a matrix of all traits may be.
_TOO_WIDE = """
document.querySelectorAll("details").forEach(each => each.open = true);
const boxes = [document.documentElement, ...document.querySelectorAll(arguments[0])];
return boxes.filter(box => box.scrollWidth > box.clientWidth + 1)
  .map(box => box.innerText.slice(0, 60));
"""


def _atlas(folder: Path) -> str:
    experiment = write_settings(folder, "wide")
    for name, direction in zip((LONG, "brief"), directions(2), strict=True):
        reasons = ["confounds: the instruction explains most of the separation " * 3]
        write_trait(experiment, name, direction, verdict="not_usable", reasons=reasons)
    return build_atlas_page(build_atlas(experiment, experiment.settings()))


def _monitor(folder: Path) -> str:
    model = make_model()
    axis = torch.randn(model.hidden_dim, generator=torch.Generator().manual_seed(0))
    vectors = [
        WatchedVector("one", "gradient_layer16", 2, axis, 2.0, (-1234.5, 1876.1)),
        WatchedVector(LONG, "gradient_layer16", 2, -axis, 2.0),
    ]
    text = "I cannot say how, but I can try to help you with it. " * 3
    return build_monitor_page([trace(model, model.prompt("How?"), text, vectors)], model="m")


def _report(folder: Path) -> str:
    return make_report(steering=steering_evaluation())[0]


PAGES: dict[str, Any] = {"atlas": _atlas, "monitor": _monitor, "report": _report}


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    path = folder / f"{request.param}.html"
    path.write_text(PAGES[request.param](folder), "utf-8")
    return path


@pytest.mark.parametrize(
    ("width", "boxes"), [(LAPTOP, ".scroll:not(.tall)"), (PHONE, ".scroll:has(.stack, .glance)")]
)
def test_no_table_scrolls_sideways(
    browser: webdriver.Chrome, page: Path, width: int, boxes: str
) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(page.as_uri())
    assert browser.find_elements("css selector", boxes)
    assert browser.execute_script(_TOO_WIDE, boxes) == []


def test_on_a_phone_each_figure_has_its_name(browser: webdriver.Chrome, page: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": PHONE, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(page.as_uri())
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('.stack td.n')].filter(cell => !cell.dataset.label)"
        ".map(cell => cell.closest('tr').innerText)"
    )
    assert unnamed == []
