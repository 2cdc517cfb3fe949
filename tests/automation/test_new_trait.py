"""A trait from the UI alone: the job that writes a definition, and the sensor that then runs it."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.projects import FEW_VECTORS, SmallProject
from tests.providers.drafts import good_draft
from tests.providers.server import FakeProvider
from traitvec_core.storage.trait_lock import using_trait
from traitvec_dagster.runs.headless import definitions_of

PARTS: dict[str, Any] = {
    "description": "hedging every claim",
    "pairs": [{"pos": f"Sound tentative, {n}.", "neg": f"Sound definite, {n}."} for n in range(5)],
    "questions": ["How does bread rise?", "What is a good first garden plant?"],
}


def write(project: SmallProject, **config: Any) -> dg.ExecuteInProcessResult:
    """Run the job as the UI does."""
    job = definitions_of(project.project).resolve_job_def("demo_new_trait")
    return job.execute_in_process(
        instance=project.instance,
        run_config={
            "ops": {"new_trait": {"config": config}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        raise_on_error=False,
    )


def why(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (failure,) = result.get_step_failure_events()
    described = failure.step_failure_data.user_failure_data
    assert described is not None
    return str(described.description)


def asked(project: SmallProject, result: dg.ExecuteInProcessResult) -> Any:
    """What the sensor asks for once a run of the job has finished."""
    sensor = definitions_of(project.project).resolve_sensor_def("new_trait_runs")
    context = dg.build_run_status_sensor_context(
        sensor_name="new_trait_runs",
        dagster_event=result.get_run_success_event(),
        dagster_instance=project.instance,
        dagster_run=result.dagster_run,
    )
    return sensor(context)


def partitions(project: SmallProject) -> list[str]:
    return list(project.instance.get_dynamic_partitions("traits/demo"))


@pytest.mark.slow
def test_a_trait_is_written_becomes_a_partition_and_runs(empty: SmallProject) -> None:
    empty.set(**FEW_VECTORS)
    result = write(empty, name="hedging", **PARTS)
    assert result.success
    definition = empty.trait("hedging").definition()
    assert [pair.pos for pair in definition.instruction] == [p["pos"] for p in PARTS["pairs"]]
    assert definition.questions == PARTS["questions"]
    assert "hedging every claim" in definition.eval_prompt
    assert partitions(empty) == ["hedging"]
    request = asked(empty, result)
    assert (request.job_name, request.partition_key) == ("demo_traits", "hedging")
    assert empty.run_job("demo_traits", "hedging").get_asset_materialization_events()


def test_the_rubric_and_the_rest_are_kept_as_given(empty: SmallProject) -> None:
    rubric = 'Rate "hedging": {question} {answer} {other}'
    assert write(
        empty, name="hedging", **PARTS, rubric=rubric, about=["words"],
        eval_questions=["Why is the sky blue?"],
    ).success  # fmt: skip
    definition = empty.trait("hedging").definition()
    assert definition.eval_prompt == rubric
    assert definition.about == ["words"]
    assert definition.eval_questions == ["Why is the sky blue?"]


def test_openings_may_stand_beside_or_instead_of_instructions(empty: SmallProject) -> None:
    openings = [{"pos": f"I agreed, {n}.", "neg": f"I argued, {n}."} for n in range(5)]
    assert write(empty, name="hedging", **PARTS, scenarios=openings).success
    both = empty.trait("hedging").definition()
    assert [pair.model_dump() for pair in both.scenarios] == openings
    assert len(both.instruction) == 5
    without = {name: part for name, part in PARTS.items() if name != "pairs"}
    assert write(empty, name="told", **without, scenarios=openings).success
    assert empty.trait("told").definition().instruction == []
    said = why(write(empty, name="bad", **without, scenarios=[{"pos": "a", "neg": "a"}]))
    assert "scenarios[0] has the same text for both poles" in said


def test_the_worked_example_takes_a_name_alone(empty: SmallProject) -> None:
    assert write(empty, name="flattery", from_example=True).success
    definition = empty.trait("flattery").definition()
    assert definition.name == "flattery"
    assert len(definition.instruction) == 10


def test_a_run_starts_only_if_asked_for_and_once(empty: SmallProject) -> None:
    without = write(empty, name="flattery", from_example=True, run=False)
    assert isinstance(asked(empty, without), dg.SkipReason)
    empty.set(auto_run=True)
    automatic = write(empty, name="hedging", **PARTS)
    assert "auto_run is on" in asked(empty, automatic).skip_message


def test_a_definition_is_replaced_only_if_asked_for(empty: SmallProject) -> None:
    before = empty.trait("refusal").definition_path.read_bytes()
    said = why(write(empty, name="refusal", **PARTS))
    assert said.endswith("exists already; set replace: true to replace it, or choose another name")
    assert empty.trait("refusal").definition_path.read_bytes() == before
    assert write(empty, name="refusal", replace=True, **PARTS).success
    assert empty.trait("refusal").definition().description == "hedging every claim"


def test_a_definition_is_not_replaced_under_a_run(empty: SmallProject) -> None:
    folder = empty.trait("refusal")
    before = folder.definition_path.read_bytes()
    with using_trait(folder.path, "run 1a2b3c4d"):
        said = why(write(empty, name="refusal", replace=True, **PARTS))
    assert "cannot be replaced now" in said
    assert "run 1a2b3c4d" in said
    assert folder.definition_path.read_bytes() == before


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"name": "hedging"}, ["pairs must be a list of at least one", "questions must be a list"]),
        (
            {**PARTS, "name": "../x", "pairs": [{"pos": "a", "neg": "a"}], "rubric": "Rate it."},
            ["trait name '../x' cannot be used", "pairs[0] has the same text for both poles",
             "rubric has no {answer}", "rubric has no {question}"],
        ),
        ({**PARTS, "name": "x", "from_example": True},
         ["leave out description, pairs, questions, or set from_example: false"]),
        ({**PARTS, "name": "x", "questions": ["FILL IN: one", "two"]}, ["still contains"]),
    ],
    ids=["nothing", "everything", "both", "gap"],
)  # fmt: skip
def test_all_problems_are_named_at_once_in_one_line_and_nothing_is_written(
    empty: SmallProject, config: dict[str, Any], parts: list[str]
) -> None:
    before = sorted(path.name for path in empty.project.experiments.rglob("*"))
    said = why(write(empty, **config))
    assert all(part in said for part in parts), said
    assert "\n" not in said
    assert sorted(path.name for path in empty.project.experiments.rglob("*")) == before
    assert partitions(empty) == []


@pytest.mark.parametrize(
    "config",
    [
        {"name": "x", "pair": []}, {"name": "x", "pairs": [{"pos": "a"}]}, {**PARTS},
        {"name": "x", **PARTS, "about": ["tone"]},
        # No text is read from the environment.
        {"name": "x", **PARTS, "rubric": {"env": "HOME"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_has_the_wrong_shape_is_refused_before_there_is_a_run(
    empty: SmallProject, config: dict[str, Any]
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        write(empty, **config)
    assert empty.instance.get_runs_count() == 0


def test_markup_and_odd_text_stay_data(empty: SmallProject) -> None:
    odd = "<script>alert(1)</script> [bold] {question} \u202e é"
    assert write(empty, name="odd", **{**PARTS, "questions": [odd, "Why?"]}).success
    assert empty.trait("odd").definition().questions[0] == odd


def test_a_sentence_becomes_a_definition(empty: SmallProject) -> None:
    empty.set(judge_model="gpt-6.1-terra")
    with FakeProvider(good_draft) as server:
        os.environ["OPENAI_BASE_URL"] = server.base_url_openai
        os.environ["OPENAI_API_KEY"] = "sk-test"
        assert write(empty, name="flattery", sentence="flatters the user").success
        assert server.log.total == 4
    definition = empty.trait("flattery").definition()
    assert definition.name == "flattery"
    assert (len(definition.instruction), len(definition.eval_questions)) == (10, 20)
    assert definition.draft is not None
    assert definition.draft["sentence"] == "flatters the user"
    assert partitions(empty) == ["flattery"]


def test_a_sentence_without_a_writer_is_one_line_and_writes_nothing(empty: SmallProject) -> None:
    said = why(write(empty, name="flattery", sentence="flatters the user"))
    assert "'embedded' cannot write definitions" in said
    both = why(write(empty, name="flattery", sentence="flatters the user", from_example=True))
    assert "sentence brings its own texts; leave out from_example, or remove sentence" in both
    exists = why(write(empty, name="refusal", sentence="flatters the user"))
    assert "exists already; set replace: true" in exists
    assert not empty.trait("flattery").path.exists()


def test_the_uis_config_sends_a_key_to_no_server_that_nobody_trusts(
    empty: SmallProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TRAITVEC_TRUST")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    with FakeProvider(good_draft) as server:
        empty.set(judge_model="m", judge_base_url=server.base_url_openai)
        said = why(write(empty, name="flattery", sentence="flatters the user"))
        assert "not allowed here yet" in said
        assert server.log.requests == []
