"""Stored verdicts: what status says never depends on what is in the cache."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.projects import SmallProject
from traitvec_core.experiment import CheckName
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.stored import stored_checks
from traitvec_core.validation.checks.table import applicable_checks, evaluate_check


def says(project: SmallProject) -> dict[CheckName, CheckResult]:
    folder, settings = project.trait("refusal"), project.settings()
    return stored_checks(applicable_checks(settings, folder), folder, settings)


def evaluated(project: SmallProject) -> dict[CheckName, CheckResult]:
    """What the checks say without anything stored."""
    folder, settings = project.trait("refusal"), project.settings()
    return {n: evaluate_check(n, folder, settings) for n in applicable_checks(settings, folder)}


@pytest.fixture
def stored(finished: SmallProject) -> Path:
    """The file with the verdicts on the finished trait."""
    assert says(finished) == evaluated(finished)
    path = finished.trait("refusal").path / ".cache/checks.json"
    assert path.is_file()
    return path


def test_stored_verdicts_are_read_and_not_evaluated_again(
    finished: SmallProject, stored: Path
) -> None:
    before = stored.stat().st_mtime_ns
    assert says(finished) == evaluated(finished)
    assert stored.stat().st_mtime_ns == before


def edit_verdict(path: Path) -> None:
    text = path.read_text()
    assert '"verdict":"' in text
    for verdict in ("warn", "fail"):
        text = text.replace(f'"verdict":"{verdict}"', '"verdict":"pass"')
    path.write_text(text.replace("contrast", "kontrast"))


def edit_key(path: Path) -> None:
    content = json.loads(path.read_text())
    content["value"]["key"] = "0" * 64
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        edit_verdict,
        edit_key,
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_bytes(b"\xff\x00"),
        lambda path: path.write_text('{"digest": 1, "value": {"key": "x", "results": 3}}'),
    ],
    ids=["verdict", "key", "truncated", "list", "bytes", "types"],
)
def test_an_edited_cache_is_ignored(
    finished: SmallProject, stored: Path, damage: Callable[[Path], object]
) -> None:
    damage(stored)
    assert says(finished) == evaluated(finished)


def test_the_verdicts_of_another_trait_do_not_count(finished: SmallProject, stored: Path) -> None:
    other = finished.trait("uncertainty")
    (other.path / ".cache").mkdir(exist_ok=True)
    shutil.copy(stored, other.path / ".cache")
    settings = finished.settings()
    names = applicable_checks(settings, other)
    expected = {name: evaluate_check(name, other, settings) for name in names}
    assert stored_checks(names, other, settings) == expected


def test_a_threshold_changes_the_verdict_at_once(finished: SmallProject, stored: Path) -> None:
    finished.set(thresholds={"contrast": 99.9})
    assert says(finished)["contrast"].verdict != "pass"
    finished.set(thresholds={"contrast": 0.0, "contrast_warning": 0.0})
    assert says(finished) == evaluated(finished)


def test_a_figure_edited_in_a_manifest_changes_the_verdict_at_once(
    finished: SmallProject, stored: Path
) -> None:
    path = finished.trait("refusal").path / "vectors/manifest.json"
    manifest = json.loads(path.read_text())
    for row in manifest["vectors"]:
        row["vector_norm"] = 1e6
    path.write_text(json.dumps(manifest))
    assert says(finished)["norm"].verdict == "fail"


def test_a_changed_file_is_a_failed_check_though_its_verdict_is_stored(
    finished: SmallProject, stored: Path
) -> None:
    with (finished.trait("refusal").path / "responses/pos.csv").open("a") as file:
        file.write(" ")
    assert says(finished)["contrast"].verdict == "fail"
    assert "changed" in says(finished)["contrast"].summary


def test_nothing_is_stored_where_nothing_can_be_written(
    finished: SmallProject, stored: Path
) -> None:
    shutil.rmtree(stored.parent)
    stored.parent.write_text("not a folder")
    assert says(finished) == evaluated(finished)
