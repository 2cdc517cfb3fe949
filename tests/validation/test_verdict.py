"""One verdict from all checks: each rule by hand."""

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traitvec_core.experiment import CheckName
from traitvec_core.validation.checks.result import CheckResult, Verdict
from traitvec_core.validation.verdict import judge_vector

NAMES: tuple[CheckName, ...] = get_args(CheckName)
ONLY_CARE = {"accuracy", "norm", "agreement", "steering"}
ONLY_NOTED = {"accuracy", "definition"}
RANK = {"usable": 0, "with_care": 1, "not_usable": 2}


def checks(**verdicts: Verdict) -> list[CheckResult]:
    """Every check passes but those that are given."""
    return [
        CheckResult(name=name, verdict=verdicts.get(name, "pass"), summary=f"about {name}")
        for name in NAMES
    ]


def test_a_vector_whose_checks_all_pass_is_usable() -> None:
    assert judge_vector(checks()) == ("usable", ["all 11 checks pass"])


def test_no_check_is_no_evidence() -> None:
    assert judge_vector([]) == ("not_usable", ["no check was evaluated"])


@pytest.mark.parametrize("name", NAMES)
def test_one_check_that_fails(name: CheckName) -> None:
    verdict, reasons = judge_vector(checks(**{name: "fail"}))
    assert verdict == ("with_care" if name in ONLY_CARE else "not_usable")
    assert reasons == [f"{name}: about {name}"]


@pytest.mark.parametrize("name", NAMES)
def test_one_check_that_warns(name: CheckName) -> None:
    verdict, reasons = judge_vector(checks(**{name: "warn"}))
    assert verdict == ("usable" if name in ONLY_NOTED else "with_care")
    assert reasons == [f"{name}: about {name}"]


def test_reasons_come_gravest_first() -> None:
    judged = checks(definition="warn", contrast="warn", norm="fail", chance="fail", accuracy="warn")
    verdict, reasons = judge_vector(judged)
    assert verdict == "not_usable"
    assert [reason.split(":")[0] for reason in reasons] == [
        "chance", "norm", "contrast", "definition", "accuracy",
    ]  # fmt: skip


def test_steering_that_was_not_evaluated_is_said_and_decides_nothing() -> None:
    without = [check for check in checks() if check.name != "steering"]
    verdict, reasons = judge_vector(without)
    assert verdict == "usable"
    assert reasons[0] == "all 10 checks pass"
    assert "steering was not evaluated" in reasons[-1]


@given(st.lists(st.sampled_from(get_args(Verdict)), min_size=len(NAMES), max_size=len(NAMES)))
def test_a_worse_check_never_gives_a_better_verdict(verdicts: list[Verdict]) -> None:
    judged = dict(zip(NAMES, verdicts, strict=True))
    verdict = judge_vector(checks(**judged))[0]
    worse: dict[Verdict, Verdict] = {"pass": "warn", "warn": "fail", "fail": "fail"}
    for name in NAMES:
        other = judge_vector(checks(**{**judged, name: worse[judged[name]]}))[0]
        assert RANK[other] >= RANK[verdict]


def test_two_checks_are_as_bad_as_the_worse_of_them() -> None:
    for one, other in product(("norm", "chance", "accuracy", "contrast"), repeat=2):
        for bad in ("warn", "fail"):
            alone = [judge_vector(checks(**{name: bad}))[0] for name in (one, other)]
            both = judge_vector(checks(**{one: bad, other: bad}))[0]
            assert RANK[both] == max(RANK[verdict] for verdict in alone)


def test_an_accepted_warning_asks_for_no_care_and_stays_a_reason() -> None:
    rows = checks()
    at = NAMES.index("confounds")
    rows[at] = rows[at].model_copy(update={"accepted": "it is about length"})
    assert judge_vector(rows) == ("usable", ["confounds: about confounds"])
