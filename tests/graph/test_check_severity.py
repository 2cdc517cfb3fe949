"""A check of which only warnings stand is yellow on Dagster's pages, whichever trait ran last."""

from typing import Any

import dagster as dg
import pytest

from tests.projects import SMALL, SmallProject

pytestmark = pytest.mark.slow

PASSES: dict[str, Any] = {"contrast": 5, "contrast_warning": 0}
WARNS: dict[str, Any] = {"contrast": 100, "contrast_warning": 0}
FAILS: dict[str, Any] = {"contrast": 100, "contrast_warning": 100}


def recheck(project: SmallProject, trait: str, limits: dict[str, Any]) -> dg.AssetCheckEvaluation:
    """Evaluate a trait's checks again; returns the result of `contrast`."""
    thresholds = {**SMALL["thresholds"], **limits}
    done = project.run_job(project.graph().recheck_job, trait, thresholds=thresholds)
    (found,) = [each for each in project.evaluations(done.run_id) if each.check_name == "contrast"]
    return found


@pytest.mark.parametrize(
    ("other", "severity"),
    [
        (WARNS, dg.AssetCheckSeverity.WARN),
        (FAILS, dg.AssetCheckSeverity.ERROR),
        # As Dagster has it where nothing says otherwise.
        (PASSES, dg.AssetCheckSeverity.ERROR),
    ],
    ids=["warns", "fails", "passes"],
)
def test_a_result_that_passes_has_the_severity_of_the_others(
    finished: SmallProject, other: dict[str, Any], severity: dg.AssetCheckSeverity
) -> None:
    recheck(finished, "refusal", FAILS)
    assert recheck(finished, "refusal", other).passed == (other is PASSES)
    last = recheck(finished, "uncertainty", PASSES)
    assert last.passed
    assert last.severity == severity


def test_a_trait_that_is_gone_and_the_own_last_result_do_not_count(finished: SmallProject) -> None:
    finished.define("gone", {})
    finished.instance.add_dynamic_partitions("traits/demo", ["gone"])
    assert not recheck(finished, "gone", PASSES).passed
    finished.instance.delete_dynamic_partition("traits/demo", "gone")
    recheck(finished, "refusal", WARNS)
    recheck(finished, "uncertainty", FAILS)
    assert recheck(finished, "uncertainty", PASSES).severity == dg.AssetCheckSeverity.WARN


def test_what_does_not_pass_keeps_its_own_severity(finished: SmallProject) -> None:
    recheck(finished, "refusal", FAILS)
    assert recheck(finished, "uncertainty", WARNS).severity == dg.AssetCheckSeverity.WARN
    recheck(finished, "refusal", WARNS)
    assert recheck(finished, "uncertainty", FAILS).severity == dg.AssetCheckSeverity.ERROR
