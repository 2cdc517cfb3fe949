"""Which verdict a trait's folder hands out: the report's, and only while it is of these results."""

import json
from pathlib import Path

import pytest

from tests.atlas.written_traits import directions, write_settings, write_trait
from traitvec_core.stage_names import METADATA_FILE
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.vector_verdict import (
    NOT_JUDGED,
    NOT_RECOMMENDED,
    describe_verdict,
    verdict_on,
)

REASONS = ["chance: no better than swapped labels", "norm: too short"]


@pytest.fixture
def trait(tmp_path: Path) -> TraitFolder:
    experiment = write_settings(tmp_path / "experiments", "demo")
    return write_trait(experiment, "kind", directions(1)[0], verdict="not_usable", reasons=REASONS)


def judged(trait: TraitFolder) -> tuple[str | None, list[str]]:
    best = trait.recommended()
    assert best is not None
    assert best.place == ("mean_diff", 2), "whatever the verdict, the vector is the same"
    return best.verdict, best.reasons


def edit_provenance(trait: TraitFolder, stage: str, **changes: object) -> None:
    path = trait.path / METADATA_FILE[stage]  # type: ignore[index]
    record = json.loads(path.read_bytes())
    record["provenance"] |= changes
    path.write_text(json.dumps(record))


def test_the_reports_verdict_and_reasons(trait: TraitFolder) -> None:
    assert judged(trait) == ("not_usable", REASONS)


def test_no_verdict_without_a_report(trait: TraitFolder) -> None:
    (trait.path / "validation/report.json").unlink()
    assert judged(trait) == (None, [NOT_JUDGED])


@pytest.mark.parametrize("stage", ["vectors", "steering_evaluation"])
def test_no_verdict_from_a_report_on_other_results(trait: TraitFolder, stage: str) -> None:
    edit_provenance(trait, stage, content="another")
    assert judged(trait) == (None, [NOT_JUDGED])


def test_no_verdict_from_a_report_whose_files_were_edited(trait: TraitFolder) -> None:
    path = trait.path / "validation/recommended.json"
    path.write_text(path.read_text().replace("not_usable", "usable"))
    assert judged(trait) == (None, [NOT_JUDGED])


def test_no_verdict_from_a_report_of_an_earlier_version(trait: TraitFolder) -> None:
    path = trait.path / "validation/report.json"
    record = json.loads(path.read_bytes())
    for key in ("verdict", "reasons", "added_norm"):
        del record["recommended"][key]
    path.write_text(json.dumps(record))
    assert judged(trait) == (None, [NOT_JUDGED])


def test_no_verdict_from_a_report_that_cannot_be_read(trait: TraitFolder) -> None:
    path = trait.path / "validation/report.json"
    record = json.loads(path.read_bytes())
    record["recommended"]["verdict"] = "splendid"
    path.write_text(json.dumps(record))
    assert judged(trait) == (None, [NOT_JUDGED])


def test_only_the_recommended_vector_has_a_verdict(trait: TraitFolder) -> None:
    best = trait.recommended()
    assert verdict_on(best, "mean_diff", 2) == ("not_usable", tuple(REASONS))
    assert verdict_on(best, "mean_diff", 3) == (None, (NOT_RECOMMENDED,))
    assert verdict_on(best, "probe", 2) == (None, (NOT_RECOMMENDED,))
    assert verdict_on(None, "probe", 2) == (None, (NOT_RECOMMENDED,))


def test_a_verdict_is_one_line_with_its_first_reasons() -> None:
    assert describe_verdict("not_usable", ["a.", "b\n c\x1b[2J"]) == r"NOT USABLE: a; b c\x1b[2J"
    assert describe_verdict("with_care", list("abcde")) == "with care: a; b; c; d; e"
    long = "x" * 78
    assert describe_verdict("with_care", [long] * 5) == f"with care: {long}; {long}; and 3 more"
    # However long, the gravest is shown whole.
    assert describe_verdict("with_care", [long * 3, "b"]) == f"with care: {long * 3}; and 1 more"
    assert describe_verdict("usable", []) == "usable"
    assert describe_verdict(None, [NOT_JUDGED]) == NOT_JUDGED
    assert describe_verdict(None, []) == "no verdict"
