"""`second_elicitation` and `style_stress` through real runs of the embedded model."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeOnce
from tests.graph.two_elicitations import two_elicitations
from tests.projects import SmallProject, edit_metadata
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.manifests import ActivationsManifest
from traitvec_core.storage.trait_folder import TraitFolder
from traitvec_core.validation.checks.stored import stored_checks
from traitvec_core.validation.checks.table import evaluate_check
from traitvec_core.validation.read_second_opinion import read_second_opinion
from traitvec_core.validation.report_manifest import ReportManifest

# A project sets the environment of its process.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_module_environment")]


@pytest.fixture
def two(make_once: MakeOnce, new_instance: Path, tmp_path: Path) -> Iterator[SmallProject]:
    shutil.copytree(two_elicitations(make_once, new_instance), tmp_path / "two")
    with SmallProject(tmp_path / "two") as project:
        yield project


@pytest.fixture
def compared(make_once: MakeOnce, new_instance: Path, tmp_path: Path) -> Iterator[SmallProject]:
    """The same, after the run that compares both."""

    def fill(folder: Path) -> None:
        shutil.copytree(two_elicitations(make_once, new_instance), folder, dirs_exist_ok=True)
        with SmallProject(folder) as project:
            assert project.run("refusal").is_success

    shutil.copytree(make_once("compared-elicitations", fill), tmp_path / "two")
    with SmallProject(tmp_path / "two") as project:
        yield project


def second(project: SmallProject) -> ReportManifest:
    return project.trait("refusal").manifest(ReportManifest)


def test_the_report_follows_what_the_second_experiment_has(two: SmallProject) -> None:
    before = second(two)
    assert before.second_opinion is None
    assert before.no_second_opinion == (
        "no second opinion yet: materialize vectors of other/refusal"
    )
    (shown,) = two.materializations("validation_report", "refusal")
    assert shown.metadata["second_opinion"].value == before.no_second_opinion
    # The second experiment has got vectors since, and nothing else of this one depends on them.
    states = two.states("refusal")
    assert states["validation_report"] == "stale"
    assert {states[stage] for stage in STAGES} - {"fresh"} == {"stale"}
    assert states["steering_evaluation"] == "fresh"
    run = two.run("refusal")
    assert run.is_success, run.problems
    assert set(run.made) == {"validation_report"}

    opinion = second(two).second_opinion
    assert opinion is not None
    assert opinion.elicited_by == ("instructions", "scenarios")
    there, back = opinion.transfers
    assert (there.responses_of, back.responses_of) == ("other", "demo")
    assert there.n == two.trait("refusal", "other").manifest(ActivationsManifest).n_examples
    assert {row.layer for row in opinion.cosines} == {2, 3}
    for row in opinion.cosines:
        # As anyone can compute it from the files.
        pair = [
            two.trait("refusal", name).read_vector(row.method, row.layer).double()
            for name in ("demo", "other")
        ]
        cosine = float(torch.nn.functional.cosine_similarity(*pair, dim=0))
        assert row.cosine == pytest.approx(cosine, abs=1e-3)
    assert [each.experiment for each in opinion.steering] == ["demo", "other"]
    page = (two.trait("refusal").path / "validation/report.html").read_text()
    assert opinion.sentence[1:] in page
    newest = two.materializations("validation_report", "refusal")[0].metadata
    assert newest["auroc_on_second"].value == pytest.approx(there.auroc.value, abs=1e-3)
    check = evaluate_check("confounds", two.trait("refusal"), two.settings())
    assert "this vector separates its responses at" in check.summary
    assert check.figures["second_opinion"] == opinion.opinion
    # Dagster says the same as `traitvec status`: the run has observed it.
    assert set(two.states("refusal").values()) == {"fresh"}


def test_a_change_there_makes_the_report_here_stale(compared: SmallProject) -> None:
    stored = stored_checks(["confounds"], compared.trait("refusal"), compared.settings())
    assert "second_opinion" in stored["confounds"].figures
    vector = compared.trait("refusal", "other").path / "vectors/mean_diff_layer3.pt"
    vector.write_bytes(vector.read_bytes() + b"\0")
    assert compared.states("refusal")["validation_report"] == "stale"
    fresh = stored_checks(["confounds"], compared.trait("refusal"), compared.settings())
    assert "second_opinion" not in fresh["confounds"].figures
    run = compared.run("refusal")
    assert run.is_success, run.problems
    report = second(compared)
    assert report.second_opinion is None
    assert report.no_second_opinion.startswith("no second opinion: ")
    assert "other/refusal" in report.no_second_opinion
    assert "\n" not in report.no_second_opinion


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"second_elicitation": "demo"}, "no second opinion: second_elicitation names this"),
        ({"second_elicitation": "gone"}, "no second opinion yet: materialize vectors of gone/"),
    ],
)
def test_without_a_second_one_a_line_says_so(
    two: SmallProject, change: dict[str, Any], line: str
) -> None:
    two.set(**change)
    run = two.run("refusal")
    assert run.is_success, run.problems
    assert second(two).no_second_opinion.startswith(line)
    assert line[1:] in (two.trait("refusal").path / "validation/report.html").read_text()


def test_another_model_is_named_and_nothing_fails(two: SmallProject) -> None:
    path = two.trait("refusal", "other").path / "activations/metadata.json"
    edit_metadata(path, lambda record: record.update(model="another"))
    assert two.run("refusal").is_success
    assert "was made with another model" in second(two).no_second_opinion


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (lambda other: shutil.rmtree(other.path), "yet: materialize vectors of other/refusal"),
        (
            lambda other: other.path.rename(other.path.with_name("renamed")),
            "yet: materialize vectors",
        ),
        (lambda other: other.write("vectors/manifest.json", b"{"), "yet: materialize vectors of"),
        (lambda other: other.write("steering/evaluation.json", b"{}"), ""),
        (
            lambda other: edit_metadata(
                other.path / "activations/metadata.json", lambda record: record.pop("question_ids")
            ),
            "activations/metadata.json cannot be read (it has no 'question_ids'",
        ),
        (
            lambda other: edit_metadata(
                other.path / "activations/metadata.json",
                lambda record: record["question_ids"].pop(),
            ),
            "results of other/refusal do not fit together",
        ),
        (
            lambda other: edit_metadata(
                other.path / "activations/metadata.json",
                lambda record: record.update(
                    question_ids=[f"refusal_9{name}" for name in record["question_ids"]]
                ),
            ),
            "results of other/refusal do not fit together",
        ),
    ],
    ids=["deleted", "renamed", "half a manifest", "no steering", "other version", "rows", "ids"],
)
def test_whatever_happened_to_the_second_one_is_a_line(
    compared: SmallProject, harm: Callable[[TraitFolder], object], line: str
) -> None:
    assert second(compared).second_opinion is not None
    harm(compared.trait("refusal", "other"))
    run = compared.run("refusal", redo=["validation_report"])
    assert run.is_success, run.problems
    report = second(compared)
    assert bool(report.no_second_opinion) != bool(report.second_opinion)
    assert line in report.no_second_opinion
    assert "\n" not in report.no_second_opinion
    check = evaluate_check("confounds", compared.trait("refusal"), compared.settings())
    assert ("second_opinion" in check.figures) == (report.second_opinion is not None)


def test_other_layers_still_have_the_cosines_of_their_mean_differences(two: SmallProject) -> None:
    two.set("other", layers=[1])
    assert two.run("refusal", experiment="other", select="vectors").is_success
    assert two.run("refusal").is_success
    opinion = second(two).second_opinion
    assert opinion is not None
    there, back = opinion.transfers
    assert back.layer == 1
    assert {(row.method, row.layer) for row in opinion.cosines} == {
        ("mean_diff", there.layer), ("mean_diff", 1),
    }  # fmt: skip


def test_a_second_one_in_the_middle_of_its_run_is_not_compared(two: SmallProject) -> None:
    two.set("other", threshold=45)
    assert two.run("refusal", experiment="other", select="activations").is_success
    assert two.run("refusal").is_success
    assert second(two).no_second_opinion == (
        "no second opinion yet: vectors of other/refusal is outdated; materialize it again"
    )
    assert two.run("refusal", experiment="other", select="vectors").is_success
    assert two.states("refusal")["validation_report"] == "stale"


def test_the_comparison_is_computed_once_and_never_trusted_blindly(compared: SmallProject) -> None:
    trait, settings = compared.trait("refusal"), compared.settings()
    kept = trait.path / ".cache/second_opinion.json"
    before = kept.read_bytes(), kept.stat().st_mtime_ns
    opinion = second(compared).second_opinion
    assert read_second_opinion(trait, settings) == (opinion, "")
    assert evaluate_check("confounds", trait, settings).figures["second_opinion"]
    assert (kept.read_bytes(), kept.stat().st_mtime_ns) == before, "read, not written again"
    # What somebody edited, or another comparison, does not count.
    assert opinion is not None
    edited = before[0].replace(b'"sentence":"', b'"sentence":"Trust me: ')
    elsewhere = compared.trait("refusal", "other").path / ".cache/second_opinion.json"
    elsewhere.parent.mkdir(exist_ok=True)
    for path, data in ((kept, edited), (kept, b"{"), (elsewhere, before[0])):
        path.write_bytes(data)
    assert read_second_opinion(trait, settings) == (opinion, "")
    assert kept.read_bytes() == before[0]
    compared.set("other", second_elicitation="demo")
    turned, _ = read_second_opinion(compared.trait("refusal", "other"), compared.settings("other"))
    assert turned is not None
    assert turned.experiment == "demo"
    assert turned.transfers == opinion.transfers[::-1]
    # Another question is another comparison.
    stricter = compared.settings(thresholds={"significance": 1e-9})
    other, _ = read_second_opinion(trait, stricter)
    assert other is not None
    assert other.opinion != "agree"
    assert read_second_opinion(trait, settings) == (opinion, "")


def test_while_the_second_one_is_written_there_is_a_line_or_one_of_both(two: SmallProject) -> None:
    other, trait, settings = two.trait("refusal", "other"), two.trait("refusal"), two.settings()
    versions, opinions = [], []
    for layers in ([2, 3], [1, 2]):
        two.set("other", layers=layers)
        assert two.run("refusal", experiment="other", select="vectors").is_success
        made, metadata = other.provenance("vectors"), other.metadata("vectors")
        assert made is not None
        metadata.pop("provenance")
        versions.append(({name: other.read(name) for name in made.files}, metadata, made))
        opinions.append(read_second_opinion(trait, settings)[0])
    assert opinions[0] != opinions[1]

    def write(n: int) -> None:
        for number in range(n):
            other.commit("vectors", *versions[number % 2])

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, 60)
        while not writing.done():
            opinion, line = read_second_opinion(trait, settings)
            assert opinion in opinions or (opinion is None and line.startswith("no second "))
            assert "\n" not in line
        writing.result()
    # What was kept meanwhile is not of a mixture.
    assert read_second_opinion(trait, settings) == (opinions[1], "")


def test_nothing_is_said_where_nothing_is_asked(two: SmallProject) -> None:
    run = two.run("refusal", experiment="other")
    assert run.is_success, run.problems
    report = two.trait("refusal", "other").manifest(ReportManifest)
    assert (report.second_opinion, report.no_second_opinion, report.style_stress) == (None, "", [])
    page = (two.trait("refusal", "other").path / "validation/report.html").read_text()
    assert 'id="second"' not in page
    assert 'id="styles"' not in page


def test_responses_are_read_again_in_other_styles(two: SmallProject) -> None:
    trait = two.trait("refusal")
    captured = trait.manifest(ActivationsManifest)
    assert captured.restyled == ["lower_case", "bullets", "no_punctuation"]
    assert 0 < len(captured.restyled_ids) <= 12
    assert set(captured.restyled_ids) <= set(captured.question_ids)
    rows = [captured.question_ids.index(name) for name in captured.restyled_ids]
    plain = trait.read_activations()[rows].float()
    for style in captured.restyled:
        values = trait.read_restyled(style).float()
        assert values.shape == plain.shape
        assert values.isfinite().all()
        assert (values - plain).abs().max() > 0.01
    styles = second(two).style_stress
    assert [row.style for row in styles] == captured.restyled
    for row in styles:
        assert row.n == len(rows)
        assert all(0 <= (each.value or 0) <= 1 for each in row.accuracy)
    (shown, *_) = two.materializations("validation_report", "refusal")
    assert shown.metadata["accuracy_lower_case"].value == pytest.approx(
        styles[0].accuracy[1].value, abs=1e-3
    )


def test_style_stress_belongs_to_the_activations(two: SmallProject) -> None:
    two.set(style_stress=0)
    run = two.run("refusal", select="activations")
    assert "responses" not in run.made
    trait = two.trait("refusal")
    assert trait.manifest(ActivationsManifest).restyled == []
    assert not list((trait.path / "activations").glob("restyled_*"))
