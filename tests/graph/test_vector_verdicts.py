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


def test_the_answer_comes_first_where_the_vector_is_shown(finished: SmallProject) -> None:
    report = finished.trait("refusal").metadata("validation_report")
    finished.run("refusal", "vectors or validation_report")
    reused, made = (finished.materializations("vectors", "refusal")[n].metadata for n in (0, -1))
    judged = finished.materializations("validation_report", "refusal")[0].metadata
    for shown in (made, reused, judged):
        assert list(shown)[:4] == ["answer", "report", "python", "command"]
        assert str(shown["python"].value).endswith('load_vector("experiments", "demo", "refusal")')
        assert str(shown["command"].value).startswith("traitvec export --experiment demo")
    # No report has judged a vector that was just made; afterwards both say the same.
    assert str(made["answer"].value).startswith("Not judged yet: ")
    assert reused["answer"] == judged["answer"]
    answer = str(judged["answer"].value)
    assert report["answer"]["headline"] in answer
    assert f"{report['recommended']['method']} at layer" in answer
    assert "trait score when steered: not measured (steering was not evaluated" in answer
    accuracy = report["figures"][2]["estimate"]["value"]
    assert f"accuracy on unseen questions and instructions {accuracy:.3f} [" in answer
