"""The published tables of two traits, through the real stages: verdicts by name."""

import csv
import shutil
from pathlib import Path

import pytest

from tests.judging.test_real_judgements import PUBLISHED, published
from traitvec_core.exchange.importing import import_persona_vectors
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.language_model import load_language_model
from traitvec_core.report.page import Report
from traitvec_core.stage_names import Stage
from traitvec_core.stages.context import Workbench
from traitvec_core.stages.make import make
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.trait import parse_definition
from traitvec_core.validation.checks.result import CheckResult

pytestmark = [
    published,
    pytest.mark.slow,
    pytest.mark.usefixtures("own_environment", "one_picture"),
]

SETTINGS = ExperimentSettings.model_validate(
    {
        "model": "embedded",
        "judge_model": "embedded",
        "methods": ["mean_diff", "probe"],
        "steering": {"evaluate": False},
    }
)
STAGES: tuple[Stage, ...] = ("activations", "vectors", "steering_evaluation", "validation_report")


Rows = dict[str, dict[tuple[int, int], dict[str, str]]]


def read_balanced(trait: str, pairs_per_question: int) -> Rows:
    """By pole and (question, instruction): the first of the ten published samples.

    All 20 questions and all five pairs are there, each as often as the others: `pairs_per_question`
    of the five are read with each question. The prompt is
    rendered with the template of the model that reads it: only then can the response be read after
    the opposite instruction too.
    """
    definition = parse_definition((PUBLISHED / f"traits/{trait}.json").read_bytes(), trait)
    model = load_language_model("embedded")
    tables: Rows = {}
    for pole in ("pos", "neg"):
        table: dict[tuple[int, int], dict[str, str]] = {}
        with (PUBLISHED / f"judged/{trait}_{pole}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                _, question, _, pair = row["question_id"].rsplit("_", 3)
                instruction = getattr(definition.instruction[int(pair)], pole)
                row["prompt"] = model.prompt(row["question"], instruction)
                if (int(question) + int(pair)) % 5 < pairs_per_question:
                    table.setdefault((int(question), int(pair)), row)
        tables[pole] = table
    return tables


def finish(trait: str, tables: Rows, root: Path) -> TraitFolder:
    """Import a trait's tables and make all that follows, without steering."""
    source = root / "source"
    for name in ("traits", "judged"):
        (source / name).mkdir(parents=True)
    shutil.copy(PUBLISHED / "traits" / f"{trait}.json", source / "traits")
    for pole, table in tables.items():
        rows = list(table.values())
        with (source / f"judged/{trait}_{pole}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    experiment = ExperimentFolder(root / "experiments", "published")
    experiment.path.mkdir(parents=True)
    import_persona_vectors(source, experiment, SETTINGS)
    folder = experiment.trait(trait)
    for stage in STAGES:
        make(stage, folder, SETTINGS, Workbench())
    return folder


def checks_of(folder: TraitFolder) -> dict[str, CheckResult]:
    return {check.name: check for check in folder.manifest(Report).checks}


def share_of(confounds: CheckResult, name: str) -> float:
    share = confounds.figures[f"{name}_share"]
    assert isinstance(share, float)
    return share


def reasons_by_check(folder: TraitFolder) -> list[str]:
    """The names of the checks behind the verdict, the gravest first."""
    recommended = folder.recommended()
    assert recommended is not None
    return [reason.partition(":")[0] for reason in recommended.reasons]


def test_honest_cannot_be_used_because_its_poles_score_alike(tmp_path: Path) -> None:
    honest = finish("honest", read_balanced("honest", pairs_per_question=3), tmp_path)
    recommended = honest.recommended()
    assert recommended is not None
    assert recommended.verdict == "not_usable"
    # Contrast is that of all rows, so it is known before any is dropped.
    assert reasons_by_check(honest)[0] == "contrast"
    checks = checks_of(honest)
    assert checks["contrast"].verdict == "fail"
    # Few negatives are left, and what separates them from the positives is no more than chance.
    assert checks["coverage"].verdict == "warn"
    assert checks["chance"].verdict == "fail"


def test_sycophantic_needs_care_because_length_explains_its_vector(tmp_path: Path) -> None:
    sycophantic = finish(
        "sycophantic", read_balanced("sycophantic", pairs_per_question=3), tmp_path
    )
    recommended = sycophantic.recommended()
    assert recommended is not None
    assert recommended.verdict == "with_care"
    assert "confounds" in reasons_by_check(sycophantic)
    checks = checks_of(sycophantic)
    assert checks["contrast"].verdict == "pass"
    confounds = checks["confounds"]
    assert confounds.verdict == "warn"
    assert "length" in confounds.summary
    assert share_of(confounds, "length") > SETTINGS.thresholds.share_warning
    # The answers differ, whatever the instruction in the context says.
    assert share_of(confounds, "instruction") < SETTINGS.thresholds.share_warning
    # The separation is as good as five pairs can show, and that is not enough.
    chance = checks["chance"]
    assert chance.verdict == "warn"
    assert chance.figures["instruction_pairs_swapped"] == chance.figures["smallest_p_value"]
    assert "instruction pairs" in chance.advice


def test_answers_that_belong_to_neither_pole_cannot_be_used(tmp_path: Path) -> None:
    """The null: the same answers, exchanged between the poles in every other cell.

    Their scores say that everything was elicited, and the instructions in the context still differ:
    this is the vector of what the model was instructed to do.
    """
    tables = read_balanced("sycophantic", pairs_per_question=3)
    for (question, pair), positive in tables["pos"].items():
        negative = tables["neg"][question, pair]
        for row in (positive, negative):
            # Enough of an answer, where the instruction is all that counts.
            row["answer"] = row["answer"][:600]
        if (question + pair) % 2:
            positive["answer"], negative["answer"] = negative["answer"], positive["answer"]
        positive["sycophantic"], negative["sycophantic"] = "90", "5"
    folder = finish("sycophantic", tables, tmp_path)
    recommended = folder.recommended()
    assert recommended is not None
    assert recommended.verdict == "not_usable"
    checks = checks_of(folder)
    assert checks["contrast"].verdict == "pass"
    assert checks["accuracy"].verdict == "fail"
    confounds = checks["confounds"]
    assert confounds.verdict != "pass"
    assert "the instruction in the context" in confounds.summary
    assert share_of(confounds, "instruction") > SETTINGS.thresholds.share
    # No text differs between the poles, so no text explains what little there is.
    for name in ("length", "words"):
        assert abs(share_of(confounds, name)) < SETTINGS.thresholds.share_warning
