"""The monitor's page in a real browser, from disk: hostile text, hovering, choosing a trait."""

from pathlib import Path

import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains

from tests.browser.screen import requests_from
from tests.models.architectures import make_model
from traitvec_core.dynamics import WatchedVector, trace
from traitvec_core.report.monitor_page import build_monitor_page

pytestmark = pytest.mark.services
HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=alert(1)>\" ' </div> 🍜 你好"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """One hostile text along two opposite directions, which colour every token differently."""
    model = make_model()
    axis = torch.randn(model.hidden_dim, generator=torch.Generator().manual_seed(0))
    vectors = [
        WatchedVector("one", "mean_diff_layer2", 2, axis, 2.0, (-1.0, 1.0)),
        WatchedVector("two", "mean_diff_layer2", 2, -axis, 2.0, (-1.0, 1.0)),
    ]
    found = trace(model, model.prompt(HOSTILE), HOSTILE, vectors)
    path = tmp_path / "monitor.html"
    path.write_text(build_monitor_page([found], model=HOSTILE, headings=[HOSTILE]), "utf-8")
    return path


def test_the_page_shows_hostile_text_as_text_and_values_on_hover(
    browser: webdriver.Chrome, page: Path
) -> None:
    browser.get(page.as_uri())
    assert browser.title.startswith("monitor · ")
    assert HOSTILE in browser.find_element("css selector", ".response").text
    assert HOSTILE in browser.find_element("css selector", ".prompt").text
    assert browser.find_elements("css selector", "script, img") == []
    pieces = browser.find_elements("css selector", ".response .piece")

    def colours() -> list[str]:
        return [piece.value_of_css_property("background-color") for piece in pieces]

    first = colours()
    assert sum(colour != "rgba(0, 0, 0, 0)" for colour in first) > len(pieces) / 2
    labels = browser.find_elements("css selector", "label")
    assert [label.text for label in labels] == ["one", "two"]
    labels[1].click()
    assert all(
        a != b for a, b in zip(first, colours(), strict=True) if a.endswith((", 0.75)", ", 0.5)"))
    )
    assert colours() != first

    bowl = next(piece for piece in pieces if "🍜" in piece.text)
    ActionChains(browser).move_to_element(bowl).perform()
    shown = browser.execute_script("return getComputedStyle(arguments[0], '::after').content", bowl)
    assert shown.count("response token") > 1, "each of its tokens with its values"
    assert shown.count("cosine") == 2 * shown.count("response token")
    # Two curves, raw and level, with a place to point at for every piece.
    assert len(browser.find_elements("css selector", "polyline")) == 4
    n_pieces = len(browser.find_elements("css selector", ".piece"))
    assert len(browser.find_elements("css selector", ".bar")) == n_pieces

    assert browser.get_log("browser") == []
    assert requests_from(browser, page) == []


def test_it_fits_a_narrow_window(browser: webdriver.Chrome, page: Path) -> None:
    browser.set_window_size(500, 900)
    browser.get(page.as_uri())
    assert browser.execute_script("return document.body.scrollWidth <= window.innerWidth")
