"""Judges are checked when a run starts, before it generates anything, and only if it will judge."""

import os
from functools import partial
from typing import Any

import dagster as dg
import pytest

from tests.graph.conftest import SETTINGS, Serve, scores_that_separate
from tests.projects import SmallProject, edit_metadata
from tests.providers.models import gpt_5_mini
from traitvec_core.errors import TraitvecError
from traitvec_core.judging.preflight import preflight_prompts
from traitvec_core.stage_names import METADATA_FILE
from traitvec_core.stages.judge_check import check_judges_ahead
from traitvec_core.stages.make import make
from traitvec_dagster.runs.headless import definitions_of

JOB = "demo_traits"


@pytest.fixture
def remote(empty: SmallProject) -> SmallProject:
    """An experiment whose judge is behind an API, without a key; nothing has run."""
    empty.set(**SETTINGS)
    empty.instance.add_dynamic_partitions("traits/demo", ["refusal"])
    return empty


def run_from_ui(project: SmallProject, *stages: str, **overrides: Any) -> dg.ExecuteInProcessResult:
    """Run stages as the UI does: through the job, with no check before it."""
    if not stages:
        return project.run_job(JOB, "refusal", **overrides)
    return (
        definitions_of(project.project)
        .resolve_job_def(JOB)
        .execute_in_process(
            instance=project.instance,
            partition_key="refusal",
            asset_selection=[dg.AssetKey(["demo", stage]) for stage in stages],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
    )


def problems_of(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The line of each step that failed, by stage."""
    return {
        str(event.step_key).rpartition("__")[2]: str(
            event.step_failure_data.user_failure_data.description
        )
        for event in result.all_events
        if event.is_step_failure and event.step_failure_data.user_failure_data is not None
    }


def logged(project: SmallProject, result: dg.ExecuteInProcessResult, part: str) -> list[str]:
    messages = [entry.user_message for entry in project.instance.all_logs(result.run_id)]
    return [message for message in messages if part in message]


def test_a_missing_key_is_named_before_anything_is_generated(remote: SmallProject) -> None:
    result = run_from_ui(remote)
    assert not result.success
    [(stage, line)] = problems_of(result).items()
    assert stage == "responses"
    assert line.startswith("judge 'gpt-5-mini' needs a key: set OPENAI_API_KEY")
    assert "\n" not in line
    assert not (remote.trait("refusal").path / "responses").exists()
    assert logged(remote, result, "loading") == []


def test_a_judge_that_fails_its_preflight_costs_two_calls(
    remote: SmallProject, serve: Serve
) -> None:
    remote.set(judge_preflight=True)
    server = serve(partial(gpt_5_mini, score_of=lambda prompt: 50))
    result = run_from_ui(remote)
    [(stage, line)] = problems_of(result).items()
    assert (stage, "failed its preflight: 50 for a clear answer" in line) == ("responses", True)
    assert {call.prompt for call in server.log.calls} == set(preflight_prompts().values())
    assert not (remote.trait("refusal").path / "responses").exists()


def test_a_price_that_the_budget_needs_is_named_first(remote: SmallProject, serve: Serve) -> None:
    server = serve()
    remote.set(judge_model="gpt-99-unheard-of", max_judge_usd=1.0)
    [(stage, line)] = problems_of(run_from_ui(remote)).items()
    assert (stage, "needs the price of" in line) == ("responses", True)
    assert server.log.total == 0


def test_a_run_that_judges_nothing_needs_no_judge(remote: SmallProject) -> None:
    assert run_from_ui(remote, "definition", "responses").success


def test_vectors_alone_need_no_judge(finished: SmallProject) -> None:
    finished.set(**SETTINGS)
    result = run_from_ui(finished, "vectors")
    assert result.success, problems_of(result)


@pytest.mark.slow
def test_what_is_judged_already_needs_no_judge(
    generated: SmallProject, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(partial(gpt_5_mini, score_of=scores_that_separate(generated)))
    assert generated.run("refusal", "judged_responses").is_success
    asked = server.log.total
    monkeypatch.delenv("OPENAI_API_KEY")
    result = run_from_ui(generated)
    assert result.success, problems_of(result)
    assert server.log.total == asked
    # Unless it is to be judged again.
    again = generated.run_job(JOB, "refusal", redo=["judged_responses"])
    [(stage, line)] = problems_of(again).items()
    assert (stage, "needs a key" in line) == ("responses", True)


def test_a_spent_budget_is_said_once(generated: SmallProject, serve: Serve) -> None:
    serve(partial(gpt_5_mini, score_of=scores_that_separate(generated)))
    assert generated.run("refusal", "judged_responses").is_success
    generated.set(max_judge_usd=1e-6)
    result = generated.run_job(JOB, "refusal", redo=["judged_responses"])
    [line] = logged(generated, result, "max_judge_usd")
    assert line.startswith("max_judge_usd: 1e-06 is spent, so nothing more will be judged")


def test_a_judge_that_may_not_be_needed_stops_nothing(finished: SmallProject) -> None:
    """Whether steering has anything to try shows only when there are vectors."""
    finished.set(**SETTINGS, steering={"evaluate": "auto"})
    folder, settings = finished.graph().folder, finished.settings()
    lines: list[str] = []
    check_judges_ahead(
        folder, settings, ["refusal"], ["vectors", "steering_evaluation"], say=lines.append
    )
    [line] = lines
    assert line.startswith("if steering or monitoring turns out to need the judge, the run will")
    assert "needs a key" in line
    with pytest.raises(TraitvecError, match="needs a key"):
        check_judges_ahead(folder, settings, ["refusal"], ["judged_responses"])


def test_without_a_recommended_vector_nothing_is_monitored_and_no_judge_is_needed(
    generated: SmallProject, serve: Serve
) -> None:
    serve(partial(gpt_5_mini, score_of=scores_that_separate(generated)))
    generated.set(monitoring_prompts=["How do I swim?"])
    assert generated.run("refusal", "judged_responses+ and +steering_evaluation").is_success
    os.environ.pop("OPENAI_API_KEY")
    trait, settings = generated.trait("refusal"), generated.settings()
    with pytest.raises(TraitvecError, match="needs a key"):
        check_judges_ahead(generated.graph().folder, settings, ["refusal"], ["trait_dynamics"])
    edit_metadata(
        trait.path / METADATA_FILE["vectors"], lambda record: record.update(recommended=None)
    )
    check_judges_ahead(generated.graph().folder, settings, ["refusal"], ["trait_dynamics"])
    assert not make("trait_dynamics", trait, settings).is_reused


@pytest.mark.filterwarnings("ignore::traitvec_core.TraitvecWarning")
def test_monitoring_does_not_need_the_second_judge(finished: SmallProject, serve: Serve) -> None:
    """Its scores are only compared with the judge's when responses are judged."""
    finished.set(**SETTINGS, second_judge="claude-haiku-4-5", monitoring_prompts=["How do I swim?"])
    serve()
    os.environ.pop("ANTHROPIC_API_KEY")
    folder, settings = finished.graph().folder, finished.settings()
    lines: list[str] = []
    check_judges_ahead(folder, settings, ["refusal"], ["trait_dynamics"], say=lines.append)
    assert lines == []
    assert not make("trait_dynamics", finished.trait("refusal"), settings).is_reused
    with pytest.raises(TraitvecError, match="'claude-haiku-4-5' needs a key"):
        check_judges_ahead(folder, settings, ["refusal"], ["judged_responses"])
