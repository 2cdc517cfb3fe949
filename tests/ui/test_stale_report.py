"""A report that is out of date says so where it is served: the file itself cannot know."""

from tests.projects import SmallProject, demo_definition
from traitvec_dagster.ui.tree_pages import read_tree_page

_NOTE = '<p class="warn" role="status">'


def test_a_report_says_why_it_is_out_of_date(finished: SmallProject) -> None:
    written = (finished.trait("refusal").path / "validation/report.html").read_bytes()
    assert _served(finished, "refusal") == written.decode()

    finished.define(
        "refusal", {**demo_definition(), "eval_prompt": "{question} {answer} <b>: 0–100"}
    )
    first_lines = _served(finished, "refusal").split("<body>\n")[1].splitlines()
    assert first_lines[0] == (
        f"{_NOTE}The vector is stale: the definition&#39;s eval_prompt changed after"
        " judged_responses was made. This page shows the last run.</p>"
    )
    assert _NOTE not in _served(finished, "uncertainty")

    # What keeps the note from being known does not keep the page from being read.
    (finished.project.experiments / "demo/experiment.yaml").write_text("model: [")
    assert "it is unknown whether the vector is stale" in _served(finished, "refusal").lower()


def _served(project: SmallProject, trait: str) -> str:
    folder = project.project.experiments
    return read_tree_page(folder, f"demo/{trait}/validation/report.html").decode()
