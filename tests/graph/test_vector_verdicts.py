"""The verdict in a run: metadata of reused stages, and a warning in the run's log."""

import pytest

from tests.projects import SmallProject, edit_metadata

REASON = "chance: <script>alert(1)</script> permuted labels do as well"


@pytest.mark.parametrize("verdict", ["usable", "not_usable"])
def test_a_reused_report_shows_its_verdict_on_all_that_it_judged(
    finished: SmallProject, verdict: str
) -> None:
    path = finished.trait("refusal").path / "validation/report.json"
    edit_metadata(
        path,
        lambda record: record["recommended"].update(verdict=verdict, reasons=[REASON]),
    )
    done = finished.run("refusal", "vectors or validation_report")
    assert done.is_success, done.problems
    for stage in ("vectors", "validation_report"):
        shown = finished.materializations(stage, "refusal")[0].metadata
        name = {"usable": "usable", "not_usable": "NOT USABLE"}[verdict]
        assert shown["verdict"].value == name
        reasons = str(shown["reasons"].value)
        assert "permuted labels do as well" in reasons
        assert "<script" not in reasons
