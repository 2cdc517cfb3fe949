"""`docs/api.md` is what the docstrings say today."""

import re
import runpy

import traitvec_core
from tests.projects import REPOSITORY


def test_the_reference_is_up_to_date_whole_and_links_to_what_is_there() -> None:
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    rendered = runpy.run_path(str(REPOSITORY / "docs" / "make_api.py"))["render"]()
    assert page == rendered, "docs/api.md is not of today's docstrings; run `make docs`"
    headings = re.findall(r"^#+ (.+)$", page, re.M)
    assert set(traitvec_core.__all__) <= set(headings)
    # As GitHub names them: in lower case, numbered from the second on.
    seen: dict[str, int] = {}
    anchors = set()
    for heading in headings:
        plain = re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        count = seen[plain] = seen.get(plain, -1) + 1
        anchors.add(f"{plain}-{count}" if count else plain)
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors
    assert str(REPOSITORY) not in page
    assert not re.search(r"`/(work|home|tmp|Users)/", page)
