"""The report in a real browser, from disk: its first screen, hostile text, dark, paper, narrow."""

from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.screen import requests_from
from tests.report.reports import make_report, steering_evaluation
from traitvec_core.validation.checks.result import CheckResult

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


# Every text of the first screen with its contrast (WCAG) to what is painted behind it.
_CONTRASTS = """
const parse = text => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
const behind = element => {
  if (!element) return [255, 255, 255];
  const own = parse(getComputedStyle(element).backgroundColor);
  return own[3] === 1 ? own.slice(0, 3) : over(own, behind(element.parentElement));
};
const luminance = colour => {
  const [r, g, b] = colour.map(c => c / 255).map(
    c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const shown = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || !element.closest("header, main, nav") || !element.checkVisibility())
    continue;
  const ground = behind(element);
  const ink = luminance(over(parse(getComputedStyle(element).color), ground));
  const [dark, light] = [ink, luminance(ground)].sort((a, b) => a - b);
  shown.push([node.data.trim().slice(0, 40), (light + 0.05) / (dark + 0.05)]);
}
return shown;
"""
_SCREEN = (1280, 800)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a trait with everything wrong that can be, and words to say about it."""
    names = ("contrast", "coverage", "confounds", "chance", "stability", "norm", "accuracy")
    checks = [
        CheckResult(
            name=name,
            verdict="fail",
            summary=f"{name} is too small for a vector at layer 26, 0.708 [0.556, 0.844] " * 4,
            advice="Write other instructions, or raise n_examples, and extract it again. " * 4,
        )
        for name in names
    ]
    path = tmp_path_factory.mktemp("doubtful") / "report.html"
    path.write_text(make_report(steering=steering_evaluation(), checks=checks)[0], "utf-8")
    return path


def _emulate(browser: webdriver.Chrome, media: str = "", scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def _shown_panels(browser: webdriver.Chrome) -> int:
    return sum(panel.is_displayed() for panel in browser.find_elements("css selector", ".panel"))


def _resize(browser: webdriver.Chrome, width: int, height: int) -> None:
    """Give the page, not the window with its frame, this size."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_the_answer_needs_no_scrolling(browser: webdriver.Chrome, doubtful: Path) -> None:
    _resize(browser, *_SCREEN)
    browser.get(doubtful.as_uri())
    what = {".badge": 1, ".vector": 1, "#python": 1, "#command": 1, ".number": 4, "#plot": 1}
    for selector, count in {**what, ".reasons": 1, ".reasons li": None}.items():
        elements = browser.find_elements("css selector", selector)
        assert len(elements) == count or (count is None and elements), selector
        for element in elements:
            box = element.rect
            assert 0 <= box["x"] <= box["x"] + box["width"] <= _SCREEN[0], selector
            assert 0 < box["y"] + box["height"] <= _SCREEN[1], (selector, box)
            assert element.is_displayed()
    assert "Not usable" in browser.find_element("css selector", ".headline").text
    reasons = browser.find_element("css selector", ".reasons").text
    assert "1. " not in reasons or reasons.index("contrast") < reasons.index("more")
    # A reason leads to all that is known about it.
    browser.find_element("link text", "contrast").click()
    row = browser.find_element("id", "check-contrast")
    assert row.is_displayed()
    assert "Write other instructions" in row.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["page", "doubtful"])
def test_every_word_of_it_can_be_read(
    browser: webdriver.Chrome, request: pytest.FixtureRequest, name: str, scheme: str
) -> None:
    _emulate(browser, scheme=scheme)
    browser.get(request.getfixturevalue(name).as_uri())
    contrasts = browser.execute_script(_CONTRASTS)
    assert len(contrasts) > 30
    assert [each for each in contrasts if each[1] < 4.5] == []


def test_a_line_is_copied_by_its_button(browser: webdriver.Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    for name in ("python", "command"):
        line = browser.find_element("id", name)
        button = line.find_element("xpath", "following-sibling::button")
        button.click()
        assert button.text == "Copied"
        # Chromium lets no test read the clipboard: what is selected is what was copied.
        assert browser.execute_script("return String(getSelection())") == line.text
    assert browser.get_log("browser") == []


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
    assert browser.find_elements("css selector", "b, td a, li a[href^=http], iframe, link") == []
    assert len(browser.find_elements("tag name", "script")) == 1, "the one that copies"
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
    # Selenium takes what a closed <details> holds for hidden, also where the style shows it.
    cells = browser.execute_script(
        "return [...document.querySelectorAll('details td')].map("
        "cell => cell.checkVisibility() && cell.getBoundingClientRect().height)"
    )
    assert len(cells) > 50
    assert all(height > 10 for height in cells)
    assert not any(button.is_displayed() for button in browser.find_elements("class name", "copy"))


@pytest.mark.parametrize("name", ["page", "doubtful"])
def test_it_fits_a_phone(
    browser: webdriver.Chrome, request: pytest.FixtureRequest, name: str
) -> None:
    _resize(browser, 390, 800)
    browser.get(request.getfixturevalue(name).as_uri())
    width = "return document.documentElement.scrollWidth"
    assert browser.execute_script(width) == 390
    sizes = "return [...document.querySelectorAll('main *')].map(e => getComputedStyle(e).fontSize)"
    assert all(float(size.removesuffix("px")) >= 11 for size in browser.execute_script(sizes))
