"""Runs without any language model that judges: scorers in the place of the judge."""

import json
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from tests.projects import SmallProject
from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.manifests import JudgedResponsesManifest
from traitvec_dagster.cli.status import status_of
from traitvec_dagster.runs.headless import TraitRun, definitions_of

pytestmark = pytest.mark.slow

SCORERS = """
def words(question, response):
    if response.startswith("T"):
        raise ValueError("no T, please")
    return min(100, 4 * len(response.split()))

def letters(question, response):
    return 100 * sum(c.isalpha() for c in response) / len(response)
"""
NOTHING = "def absent(question, response):\n    return 0\n"
WORDS, LETTERS = "python:scorers.py:words", "python:scorers.py:letters"
REFUSED = "so a run's config cannot set it"


@pytest.fixture
def project(generated: SmallProject) -> SmallProject:
    """A project with responses, and a file with two scorers."""
    (generated.project.experiments / "demo" / "scorers.py").write_text(SCORERS)
    generated.set(judge_model=WORDS)
    return generated


def judge(project: SmallProject, **overrides: Any) -> TraitRun:
    """Judge the responses again; whether enough are kept does not matter here."""
    run = project.run("refusal", "judged_responses", **overrides)
    assert list(run.made) == ["judged_responses"], run.problems
    return run


def expected(responses: pd.Series, function: str) -> list[float | None]:
    space: dict[str, Any] = {}
    exec(SCORERS, space)
    values: list[float | None] = []
    for response in responses:
        try:
            values.append(round(float(space[function]("", response)), 4))
        except ValueError:
            values.append(None)
    return values


def column(table: pd.DataFrame, name: str) -> list[float | None]:
    return [None if pd.isna(value) else float(value) for value in table[name]]


def test_a_run_is_judged_by_functions_and_compared_with_a_model(project: SmallProject) -> None:
    project.set(
        scorers={"uncertainty": LETTERS}, also_judge=["uncertainty"], second_judge="embedded",
        agreement_sample=6,
    )  # fmt: skip
    run = judge(project)
    folder = project.trait("refusal")
    table = folder.read_responses()
    assert column(table, "trait_score") == expected(table["response"], "words")
    assert column(table, "uncertainty_score") == expected(table["response"], "letters")
    assert table["coherence_score"].between(0, 100).all()
    assert set(table["judge_model"]) == {WORDS}
    faulty = table["response"].str.startswith("T")
    assert faulty.any()
    assert not faulty.all()
    assert (table["judge_status"] == "error").equals(faulty)
    reasons = set(table.loc[faulty, "judge_reason"])
    assert reasons == {"the function raised ValueError: no T, please"}
    lines = [entry.user_message for entry in project.instance.all_logs(run.run_id)]
    summary = f"{faulty.sum()} of {len(table)} trait scores are missing; most often: {min(reasons)}"
    assert len([line for line in lines if line.startswith(summary)]) == 1
    manifest = folder.manifest(JudgedResponsesManifest)
    assert manifest.coherence_judge == "repetition"
    assert manifest.missing_reasons["trait"] == {min(reasons): int(faulty.sum())}
    (compared,) = manifest.compared
    assert compared.with_ == "embedded"
    assert len(compared.scores) == 6
    assert all(second is not None for _, _, second in compared.scores)
    (made,) = project.materializations("judged_responses", "refusal")
    assert made.metadata["judge_model"].value == WORDS
    assert made.metadata["coherence_judge"].value == "repetition"
    assert made.metadata["cost_usd"].value == 0


def test_a_function_can_be_the_second_judge(project: SmallProject) -> None:
    project.set(judge_model="embedded", second_judge=WORDS, agreement_sample=6)
    judge(project)
    folder = project.trait("refusal")
    (compared,) = folder.manifest(JudgedResponsesManifest).compared
    table = folder.read_responses().set_index("question_id")
    names = [name for name, _, _ in compared.scores]
    assert [s for _, _, s in compared.scores] == expected(table.loc[names, "response"], "words")


def test_an_edited_function_makes_only_its_scores_stale(project: SmallProject) -> None:
    judge(project)
    assert project.states("refusal")["judged_responses"] == "fresh"
    path = project.project.experiments / "demo" / "scorers.py"
    path.write_text(SCORERS.replace("4 *", "3 *"))
    states = project.states("refusal")
    assert (states["responses"], states["judged_responses"]) == ("fresh", "stale")
    judge(project)
    # Coherence is judged by the same rule as before.
    manifest = project.trait("refusal").manifest(JudgedResponsesManifest)
    texts = project.trait("refusal").read_responses().drop_duplicates(["question", "response"])
    assert manifest.asked_now == len(texts)


def test_who_scores_something_else_leaves_a_trait_fresh(project: SmallProject) -> None:
    judge(project)
    project.set(scorers={"uncertainty": LETTERS})
    assert project.states("refusal")["judged_responses"] == "fresh"
    for changed in (
        {"scorers": {"refusal": LETTERS}},
        {"coherence_judge": LETTERS},
        {"scorers": {"uncertainty": LETTERS}, "also_judge": ["uncertainty"]},
    ):
        assert project.states("refusal", **changed)["judged_responses"] == "stale", changed


def test_a_broken_file_is_one_line_and_keeps_what_is_there(project: SmallProject) -> None:
    path = project.project.experiments / "demo" / "scorers.py"
    path.write_text("def words(question):\n    return 1\n")
    run = project.run("refusal", "judged_responses")
    assert not run.is_success
    (problem,) = run.problems
    assert problem.endswith("scorers.py: words must take two arguments: (question, response)")
    assert project.states("refusal")["responses"] == "fresh"


def test_a_request_to_the_ui_cannot_name_code_to_run(project: SmallProject) -> None:
    (project.project.experiments / "demo" / "scorers.py").write_text(
        SCORERS + "\ndef other(question, response):\n    return 1\n"
    )
    other = "python:scorers.py:other"
    job = project.graph().job
    project.instance.add_dynamic_partitions("traits/demo", ["refusal"])
    for overrides in (
        {"judge_model": other},
        {"second_judge": other},
        {"coherence_judge": other},
        {"scorers": {"refusal": other}},
        {"gradient_objective": "os:system"},
        {"trust_remote_code": True},
    ):
        # The config has no room for it.
        with pytest.raises(dg.DagsterInvalidConfigError):
            project.run_job(job, "refusal", **overrides)
        # A tag, with which "Re-execute" repeats a run of the command line, is no way either.
        result = _run_with_tag(project, overrides)
        assert not result.success
        # The definition needs no settings; the first stage refuses, and nothing follows.
        (failure,) = result.get_step_failure_events()
        assert REFUSED in str(failure.step_failure_data.user_failure_data), overrides
    # So does any other stage that is run alone.
    alone = _run_with_tag(project, {"judge_model": other}, ["judged_responses"])
    assert not alone.success
    (failure,) = alone.get_step_failure_events()
    assert REFUSED in str(failure.step_failure_data.user_failure_data)
    assert not project.materializations("judged_responses", "refusal")
    # Harmless settings, and what the file says itself, may be set; the owner may set anything.
    assert _judges(project, {"coherence_judge": "repetition", "n_examples": 8})
    n_before = len(project.materializations("judged_responses", "refusal"))
    _run_with_tag(project, {"judge_model": WORDS}, ["judged_responses"])
    assert len(project.materializations("judged_responses", "refusal")) == n_before + 1
    judge(project, judge_model=other)
    assert set(project.trait("refusal").read_responses()["trait_score"]) == {1.0}


def test_a_trait_of_which_nothing_shows_is_not_usable_though_it_has_no_vector(
    project: SmallProject,
) -> None:
    (project.project.experiments / "demo" / "absent.py").write_text(NOTHING)
    project.set(judge_model="python:absent.py:absent", thresholds={})

    result = project.run("refusal")

    assert not result.is_good
    row = status_of(ExperimentFolder(project.project.experiments, "demo"))["refusal"]
    assert row["recommended"] is None
    assert row["verdict"] == "not_usable"
    failed = [name for name, check in row["checks"].items() if check["verdict"] == "fail"]
    assert failed == ["contrast", "coverage"]


def _judges(project: SmallProject, overrides: dict[str, Any]) -> bool:
    """Whether the UI can have responses judged with these overrides."""
    project.run_job(project.graph().job, "refusal", **overrides)
    return bool(project.materializations("judged_responses", "refusal"))


def _run_with_tag(
    project: SmallProject, overrides: dict[str, Any], stages: Sequence[Stage] = ()
) -> dg.ExecuteInProcessResult:
    graph = project.graph()
    return (
        definitions_of(project.project)
        .resolve_job_def(graph.job)
        .execute_in_process(
            instance=project.instance, partition_key="refusal",
            asset_selection=[graph.key(stage) for stage in stages] or None,
            tags={"traitvec/overrides": json.dumps(overrides)}, raise_on_error=False,
        )
    )  # fmt: skip
