"""Fresh results are kept; checks have a history for each trait and can be rerun."""

import dagster as dg
import pytest

from tests.projects import FEW_VECTORS, SmallProject, snapshot
from traitvec_core.stage_names import STAGES
from traitvec_dagster.graph.checks import CHECKED_STAGE

pytestmark = pytest.mark.slow

MADE = list(STAGES[1:])


def test_a_second_run_recomputes_nothing(finished: SmallProject) -> None:
    before = snapshot(finished.project.experiments)
    again = finished.run("refusal")
    assert again.is_good
    assert again.reused == MADE
    assert again.made == {}
    assert snapshot(finished.project.experiments) == before
    for stage in MADE:
        newest, first = finished.materializations(stage, "refusal")
        assert newest.metadata["reused"].value is True
        versions = [(m.tags or {})["dagster/data_version"] for m in (newest, first)]
        assert versions[0] == versions[1]


def test_each_trait_has_its_own_checks(finished: SmallProject) -> None:
    # An override that the other trait never sees: only one history may change.
    strict = finished.run("refusal", thresholds={"contrast": 100, "contrast_warning": 100})
    assert strict.verdicts["contrast"] == "fail"
    assert strict.is_good  # it does not block
    assert {found.partition for found in finished.evaluations(strict.run_id)} == {"refusal"}
    key = dg.AssetCheckKey(finished.graph().key("judged_responses"), "contrast")
    latest: dict[str | None, list[str]] = {}
    # Newest first.
    for record in finished.instance.event_log_storage.get_asset_check_execution_history(key, 10):
        latest.setdefault(record.partition, []).append(record.status.value)
    assert latest == {"refusal": ["FAILED", "SUCCEEDED"], "uncertainty": ["SUCCEEDED"]}


def test_recheck_evaluates_again_and_touches_nothing(finished: SmallProject) -> None:
    before = snapshot(finished.trait("refusal").path)
    finished.set(thresholds={"accuracy": 1.0, "contrast": 5, "contrast_warning": 0})
    done = finished.run_job(finished.graph().recheck_job, "refusal")
    assert done.success
    found = {f.check_name: f for f in finished.evaluations(done.run_id)}
    assert set(found) == set(CHECKED_STAGE) - {"agreement", "steering"}  # neither applies
    assert not found["accuracy"].passed
    assert found["contrast"].passed
    assert {f.partition for f in found.values()} == {"refusal"}
    assert snapshot(finished.trait("refusal").path) == before


def test_a_failing_check_that_blocks_stops_only_what_follows(empty: SmallProject) -> None:
    # Nothing reaches a threshold of 100, so no positive response is kept.
    empty.set(**FEW_VECTORS, threshold=100)
    done = empty.run("refusal")
    assert not done.is_good
    assert list(done.made) == ["responses", "judged_responses"]
    assert done.verdicts["coverage"] == "fail"
    assert len(done.problems) == 1
    assert "too few responses are left to extract from" in done.problems[0]
    assert "\n" not in done.problems[0]
    assert empty.states("refusal")["activations"] == "missing"


def test_settings_of_one_run_win_over_the_file(finished: SmallProject) -> None:
    n_blocks = finished.trait("refusal").metadata("activations")["n_layers"] - 1
    done = finished.run("refusal", methods=["mean_diff"], layers=[1, n_blocks])
    assert done.reused == ["responses", "judged_responses", "activations"]
    assert set(done.made) == {
        "vectors", "steering_evaluation", "validation_report", "trait_dynamics",
    }  # fmt: skip
    files = {p.name for p in (finished.trait("refusal").path / "vectors").glob("*.pt")}
    # The old vectors are gone: they would belong to other settings.
    assert files == {"mean_diff_layer1.pt", f"mean_diff_layer{n_blocks}.pt"}
    # The file says otherwise, so for the file they are stale.
    assert finished.states("refusal")["vectors"] == "stale"


@pytest.mark.parametrize("broken", ["cut", "gone", "swapped"])
def test_a_file_that_changed_on_disk_is_recreated(finished: SmallProject, broken: str) -> None:
    folder = finished.trait("refusal").path
    path = folder / "activations/all_layers.pt"
    whole = path.read_bytes()
    if broken == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif broken == "gone":
        path.unlink()
    else:
        path.write_bytes(
            (finished.trait("uncertainty").path / path.relative_to(folder)).read_bytes()
        )
    assert finished.states("refusal")["activations"] == "stale"
    done = finished.run("refusal")
    assert done.is_good, done.problems
    assert list(done.made) == ["activations"]
    assert path.read_bytes() == whole


def test_severities_decide_between_warning_and_failure(finished: SmallProject) -> None:
    finished.set(thresholds={"accuracy": 1.0, "contrast": 100, "contrast_warning": 100})
    run = finished.run("refusal", severities={"accuracy": "warn"})
    assert run.verdicts["accuracy"] == "warn"
    assert run.verdicts["contrast"] == "fail"
    run = finished.run("refusal", severities={"contrast": "warn", "accuracy": "error"})
    assert (run.verdicts["contrast"], run.verdicts["accuracy"]) == ("warn", "fail")
    report = finished.trait("refusal").metadata("validation_report")
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert (verdicts["contrast"], verdicts["accuracy"]) == ("warn", "fail")
