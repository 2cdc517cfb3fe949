"""The report in a real browser, from disk: hostile text, tabs, dark, paper, a narrow window."""

from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.screen import requests_from
from tests.report.reports import make_report, steering_evaluation

pytestmark = pytest.mark.services
HOSTILE = (
    "<script>alert(1)</script> **bold** [link](https://evil.example/x) <b>big</b>"
    " <img src=https://evil.example/x onerror=\"document.title='taken'\">"
    " data:text/html,<script>alert(2)</script> </td></table></style> 🍜 你好"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    html, _ = make_report(HOSTILE, steering=steering_evaluation(HOSTILE))
    path.write_text(html, "utf-8")
    return path


def _emulate(browser: webdriver.Chrome, media: str = "", scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def _shown_panels(browser: webdriver.Chrome) -> int:
    return sum(panel.is_displayed() for panel in browser.find_elements("css selector", ".panel"))


def test_hostile_text_is_text_and_nothing_is_asked_for(
    browser: webdriver.Chrome, page: Path
) -> None:
    browser.get(page.as_uri())
    assert browser.title == "trait · demo · traitvec"
    panels = browser.find_elements("css selector", ".panel")
    shown = [panel for panel in panels if panel.is_displayed()]
    assert len(shown) == 2, "one coefficient and one pole"
    for panel in shown:
        assert HOSTILE in panel.find_element("css selector", ".long").text
    assert browser.find_elements("css selector", "script, b, td a, iframe, link") == []
    pictures = browser.execute_script(
        "return [...document.images].map(image => [image.src.slice(0, 22), image.naturalWidth])"
    )
    assert len(pictures) == len(browser.find_elements("css selector", "figure")) >= 10
    assert all(src == "data:image/png;base64," and width > 500 for src, width in pictures)
    assert browser.get_log("browser") == []
    assert requests_from(browser, page) == []


def test_a_tab_shows_the_responses_at_its_coefficient(
    browser: webdriver.Chrome, page: Path
) -> None:
    browser.get(page.as_uri())
    labels = browser.find_elements("css selector", "label[for^=dose]")
    assert [label.text for label in labels] == ["−2", "−1", "0", "+1", "+2", "prompted", "random 1"]
    labels[1].click()
    assert _shown_panels(browser) == 2
    panel = next(p for p in browser.find_elements("css selector", ".panel") if p.is_displayed())
    assert panel.find_element("css selector", ".long").text.endswith("at -1")


def test_dark_turns_pictures_round_and_paper_shows_everything(
    browser: webdriver.Chrome, page: Path
) -> None:
    _emulate(browser, scheme="dark")
    browser.get(page.as_uri())
    image = browser.find_element("css selector", "figure img")
    body = browser.find_element("tag name", "body")
    assert body.value_of_css_property("background-color") == "rgba(18, 18, 18, 1)"
    assert image.value_of_css_property("filter").startswith("invert")
    _emulate(browser, media="print", scheme="dark")
    assert body.value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
    assert image.value_of_css_property("filter") == "none"
    assert _shown_panels(browser) == 9
    questions = browser.find_element("css selector", "details td.text")
    assert questions.is_displayed()
    assert questions.size["height"] > 0


def test_it_fits_a_narrow_window(browser: webdriver.Chrome, page: Path) -> None:
    browser.set_window_size(500, 900)
    browser.get(page.as_uri())
    assert browser.execute_script("return document.body.scrollWidth <= window.innerWidth")
