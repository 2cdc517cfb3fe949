"""What starts runs by itself: the sensor, the schedule, the condition; and reported failures."""

import json
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.automation.hook import listening
from tests.automation.ticking import Ticking
from tests.projects import FEW_VECTORS, SmallProject, demo_definition, snapshot
from traitvec_core.errors import TraitvecError
from traitvec_core.trust import allow, grants_of
from traitvec_core.validation.report_manifest import ReportManifest
from traitvec_dagster.automation import build_schedules
from traitvec_dagster.automation.webhook import WEBHOOK_VARIABLE, build_failure_sensor, post
from traitvec_dagster.runs.headless import definitions_of

HOSTILE = ["../../escaped", "/tmp/escaped", "..", ".", "a/b", "a\\b", "A", "x\n", "%2e%2e", "", "é",
           "~", "$HOME", "a b", "-rf", "_x", "a" * 300, "con\x00"]  # fmt: skip


@pytest.fixture
def auto(empty: SmallProject) -> Ticking:
    empty.set(auto_run=True, **FEW_VECTORS)
    return Ticking(empty)


def changed_definition(text: str) -> dict[str, Any]:
    definition = demo_definition()
    definition["questions"] = [*definition["questions"][1:], text]
    return definition


def settle(project: SmallProject, trait: str) -> None:
    """As if the file had been written a minute ago."""
    path = project.trait(trait).definition_path
    os.utime(path, (time.time() - 60, time.time() - 60))


# -- the sensor -------------------------------------------------------------------------------


def test_new_traits_become_partitions_and_runs(auto: Ticking) -> None:
    assert auto.asked() == ["refusal", "uncertainty"]
    assert auto.partitions() == {"refusal", "uncertainty"}
    assert auto.asked() == []
    auto.project.define("later", demo_definition())
    assert auto.asked() == ["later"]
    assert auto.partitions() == {"refusal", "uncertainty", "later"}
    assert auto.asked() == []


def test_without_auto_run_there_are_partitions_and_no_runs(empty: SmallProject) -> None:
    tick = Ticking(empty)
    assert tick.asked() == []
    assert tick.partitions() == {"refusal", "uncertainty"}
    # Switched on later, what has waited is run.
    empty.set(auto_run=True)
    assert tick.asked() == ["refusal", "uncertainty"]


@pytest.mark.slow
def test_finished_traits_are_not_run(finished: SmallProject) -> None:
    finished.set(auto_run=True)
    tick = Ticking(finished)
    assert tick.asked() == []
    finished.set(threshold=40)
    assert tick.asked() == ["refusal", "uncertainty"]


def test_a_definition_that_comes_back_is_run_again(auto: Ticking) -> None:
    first = demo_definition()
    second = changed_definition("Which is the best soup?")
    keys = [request.run_key for request in auto().run_requests or []]
    for definition in (second, first, second, first):
        auto.project.define("refusal", definition)
        found = auto().run_requests or []
        assert [request.partition_key for request in found] == ["refusal"]
        keys.append(found[0].run_key)
    assert len(set(keys)) == len(keys)
    assert auto.asked() == []


def test_a_cursor_that_was_lost_gives_new_keys(auto: Ticking) -> None:
    before = {request.run_key for request in auto().run_requests or []}
    for cursor in (None, "{", '{"traits": 3}'):
        auto.cursor = cursor
        again = {request.run_key for request in auto().run_requests or []}
        assert len(again) == 2
        assert not before & again


def test_white_space_in_a_file_is_no_change(auto: Ticking) -> None:
    auto()
    path = auto.project.trait("refusal").definition_path
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    assert auto.asked() == []


def test_settings_count_where_a_result_depends_on_them(auto: Ticking) -> None:
    auto()
    auto.project.set(schedule={"cron": "0 3 * * 1"}, batch_size=3, description="other")
    assert auto.asked() == []
    auto.project.set(n_examples=10)
    assert auto.asked() == ["refusal", "uncertainty"]


def test_a_broken_definition_is_checked_once_and_blocks_no_other_trait(auto: Ticking) -> None:
    broken = auto.project.trait("broken")
    broken.path.mkdir()
    broken.definition_path.write_text('{"questions": []}')
    settle(auto.project, "broken")
    found = auto()
    requests = {str(request.partition_key): request for request in found.run_requests or []}
    assert list(requests) == ["refusal", "uncertainty", "broken"]
    # Its check and nothing else, in a run: outside of runs Dagster would store only one.
    assert requests["broken"].asset_selection == [auto.graph.key("definition")]
    assert requests["refusal"].asset_selection is None
    assert found.asset_events == []
    assert "broken" in auto.partitions()
    for _ in range(2):
        assert auto.asked() == []
    # Other problems are checked again, and once it is fixed it is run.
    broken.definition_path.write_text("no JSON")
    settle(auto.project, "broken")
    assert auto.asked() == ["broken"]
    auto.project.define("broken", demo_definition())
    (request,) = auto().run_requests or []
    assert (request.partition_key, request.asset_selection) == ("broken", None)
    assert auto.asked() == []


def test_without_auto_run_a_definition_that_breaks_or_is_fixed_is_checked(
    empty: SmallProject,
) -> None:
    tick = Ticking(empty)
    assert tick.asked() == []
    keys = []
    for text in ('{"instruction": 3}', "no JSON", json.dumps(demo_definition())):
        empty.trait("refusal").definition_path.write_text(text)
        settle(empty, "refusal")
        (request,) = tick().run_requests or []
        assert request.partition_key == "refusal"
        assert request.asset_selection == [tick.graph.key("definition")]
        keys.append(request.run_key)
        assert tick.asked() == []
    assert len(set(keys)) == 3
    # It was never broken, so there is nothing to correct.
    empty.define("refusal", changed_definition("Which is the best soup?"))
    assert tick.asked() == []


def test_a_file_that_is_being_written_is_given_time(auto: Ticking) -> None:
    auto()
    path = auto.project.trait("refusal").definition_path
    whole = json.dumps(changed_definition("Which is the best soup?"))
    path.write_text(whole[: len(whole) // 2])
    found = auto()
    assert not found.run_requests
    assert found.asset_events == []
    path.write_text(whole)
    assert auto.asked() == ["refusal"]


def test_a_broken_experiment_is_reported_once_and_its_partitions_are_added(auto: Ticking) -> None:
    path = auto.graph.folder.settings_path
    before = path.read_text()
    path.write_text(before + "no_such_setting: 3\n")
    found = auto()
    assert not found.run_requests
    assert found.skip_reason is not None
    assert "no_such_setting" in str(found.skip_reason.skip_message)
    assert auto.partitions() == {"refusal", "uncertainty"}
    assert "nothing has changed" in str(auto().skip_reason)
    path.write_text(before)
    assert auto.asked() == ["refusal", "uncertainty"]


def test_a_removed_trait_is_reported_once_and_kept(auto: Ticking) -> None:
    auto()
    results = auto.project.trait("refusal").path / "vectors"
    results.mkdir()
    auto.project.trait("refusal").definition_path.unlink()
    found = auto()
    (event,) = found.asset_events
    assert isinstance(event, dg.AssetObservation)
    assert event.partition == "refusal"
    assert "traitvec remove-trait" in str(event.description)
    assert auto().asset_events == []
    assert auto.partitions() == {"refusal", "uncertainty"}
    assert results.is_dir()
    # It may come back, and go again.
    auto.project.define("refusal", demo_definition())
    assert auto.asked() == ["refusal"]
    auto.project.trait("refusal").definition_path.unlink()
    assert len(auto().asset_events) == 1


@pytest.mark.parametrize("name", ["nothing", "No Name", ".."])
def test_a_partition_without_anything_is_explained_and_removed(auto: Ticking, name: str) -> None:
    auto()
    auto.project.instance.add_dynamic_partitions("traits/demo", [name])
    found = auto()
    (event,) = found.asset_events
    assert isinstance(event, dg.AssetObservation)
    reason = "has no definition; write" if name == "nothing" else "cannot be used as a folder name"
    assert reason in str(event.description)
    assert str(event.description).endswith("nor results, was removed")
    assert name in str(found.skip_reason)
    assert auto.partitions() == {"refusal", "uncertainty"}
    assert auto().asset_events == []


def test_a_partition_with_results_or_a_run_is_not_removed(auto: Ticking) -> None:
    auto()
    instance = auto.project.instance
    instance.add_dynamic_partitions("traits/demo", ["made", "running"])
    key = auto.graph.key("vectors")
    instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="made"))
    run = _start_run(auto, "running")
    auto()
    assert auto.partitions() == {"refusal", "uncertainty", "made", "running"}
    instance.report_run_canceled(run)
    auto()
    assert auto.partitions() == {"refusal", "uncertainty", "made"}


def test_no_partition_is_removed_while_the_disk_is_away(auto: Ticking) -> None:
    auto()
    folder = auto.graph.folder.path
    folder.rename(folder.with_name("away"))
    auto()
    assert auto.partitions() == {"refusal", "uncertainty"}


def test_a_trait_that_is_under_way_waits(auto: Ticking) -> None:
    auto()
    run = _start_run(auto, "refusal")
    auto.project.define("refusal", changed_definition("Which is the best soup?"))
    auto.project.define("later", demo_definition())
    assert auto.asked() == ["later"]
    found = auto()
    assert not found.run_requests
    assert "already running" in str(found.skip_reason)
    auto.project.instance.report_run_canceled(run)
    assert auto.asked() == ["refusal"]


def test_of_two_hundred_traits_each_is_run_once(auto: Ticking) -> None:
    for number in range(198):
        auto.project.define(f"trait_{number}", changed_definition(f"Question {number}?"))
    assert len(auto.asked()) == 200
    assert auto.asked() == []
    auto.project.define("one_more", demo_definition())
    assert auto.asked() == ["one_more"]


def _start_run(tick: Ticking, trait: str) -> dg.DagsterRun:
    run = tick.project.instance.create_run_for_job(
        definitions_of(tick.project.project).resolve_job_def(tick.graph.job),
        tags={"dagster/partition": trait},
    )
    tick.project.instance.report_engine_event("started", run)
    return run


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_a_hostile_name_becomes_no_path(name: str, empty: SmallProject) -> None:
    """What a run does with such names: `test_hostile_names.py`."""
    with pytest.raises(TraitvecError):
        empty.graph("demo").folder.trait(name)
    with pytest.raises(TraitvecError):
        _ = empty.graph(name).folder


def test_folders_with_hostile_names_are_reported_once(auto: Ticking) -> None:
    experiment = auto.graph.folder.path
    for name in ("Has Space", "-rf", "é"):
        (experiment / name).mkdir()
        (experiment / name / "trait_definition.json").write_text(json.dumps(demo_definition()))
    found = auto()
    assert {str(request.partition_key) for request in found.run_requests or []} == {
        "refusal",
        "uncertainty",
    }
    assert auto.partitions() == {"refusal", "uncertainty"}
    assert "nothing has changed" in str(auto().skip_reason)


# -- the schedule -----------------------------------------------------------------------------


def _scheduled(project: SmallProject) -> list[str] | str:
    (schedule,) = build_schedules(project.graph())
    context = dg.build_schedule_context(
        instance=project.instance, scheduled_execution_time=datetime(2030, 1, 7, 3, tzinfo=UTC),
        repository_def=definitions_of(project.project).get_repository_def(),
    )  # fmt: skip
    data = schedule.evaluate_tick(context)
    if data.run_requests:
        return [str(request.partition_key) for request in data.run_requests]
    return str(data.skip_message)


def test_the_schedule_runs_every_trait_that_can_run(empty: SmallProject) -> None:
    empty.set(schedule={"cron": "0 3 * * 1", "timezone": "Europe/Berlin"})
    (schedule,) = build_schedules(empty.graph())
    assert schedule.cron_schedule == "0 3 * * 1"
    assert schedule.execution_timezone == "Europe/Berlin"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    broken = empty.trait("broken")
    broken.path.mkdir()
    broken.definition_path.write_text("no JSON")
    assert _scheduled(empty) == ["refusal", "uncertainty"]
    tick = Ticking(empty)
    run = _start_run(tick, "refusal")
    assert _scheduled(empty) == ["uncertainty"]
    empty.instance.report_run_canceled(run)
    assert _scheduled(empty) == ["refusal", "uncertainty"]


def test_the_schedule_is_off_unless_it_is_on(empty: SmallProject) -> None:
    (schedule,) = build_schedules(empty.graph())
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    empty.set(schedule={"cron": "5 4 * * 2", "enabled": False})
    (schedule,) = build_schedules(empty.graph())
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "5 4 * * 2"
    # Its switch in the UI is the only one: once that is on, it runs whatever the file says.
    assert "the switch decides" in str(schedule.description).lower()
    assert _scheduled(empty) == ["refusal", "uncertainty"]
    empty.set(no_such_setting=3)
    assert "no_such_setting" in _scheduled(empty)


def test_an_invalid_schedule_is_refused_and_the_rest_still_loads(empty: SmallProject) -> None:
    for wrong in ({"cron": "99 * * * *"}, {"cron": "@reboot"}, {"cron": "* * * *"},
                  {"cron": "0 3 * * *", "timezone": "Mars"}):  # fmt: skip
        empty.set(schedule=wrong)
        with pytest.raises(TraitvecError, match="schedule"):
            empty.settings()
        (schedule,) = build_schedules(empty.graph())
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    # Ours lets it through, and Dagster does not or does.
    empty.set(schedule={"cron": "5-2 * * * *"})
    assert len(build_schedules(empty.graph())) <= 1
    definitions_of(empty.project).get_repository_def()


# -- the condition ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_condition_follows_content_and_not_materializations(empty: SmallProject) -> None:
    empty.set(follow_data_versions=True, **FEW_VECTORS)
    definitions = definitions_of(empty.project)
    assert empty.run("refusal").is_success

    def requested(cursor: Any) -> tuple[set[str], Any]:
        found = dg.evaluate_automation_conditions(definitions, empty.instance, cursor=cursor)
        asked = {
            result.key.path[-1]
            for result in found.results
            if isinstance(result.key, dg.AssetKey) and not result.true_subset.is_empty
        }
        return asked, found.cursor

    _, cursor = requested(None)
    # Everything made again in one run, with the same content.
    assert empty.run("refusal").is_success
    asked, cursor = requested(cursor)
    assert asked == set()
    # A definition that says something else.
    empty.define("refusal", changed_definition("Which is the best soup?"))
    assert empty.run("refusal", "definition").is_success
    asked, cursor = requested(cursor)
    assert "responses" in asked
    assert empty.run("refusal").is_success
    asked, cursor = requested(cursor)
    assert asked == set()
    # A broken one stops at its check.
    empty.define("refusal", {"questions": []})
    assert not empty.run("refusal", "definition").is_good
    asked, cursor = requested(cursor)
    assert asked == set()


@pytest.mark.parametrize("in_file", [False, True])
def test_the_switch_of_the_condition_sensor_starts_as_the_file_says(
    empty: SmallProject, in_file: bool
) -> None:
    empty.set(follow_data_versions=in_file)
    sensor = definitions_of(empty.project).resolve_sensor_def("demo_data_versions")
    on, off = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
    assert sensor.default_status == (on if in_file else off)


# -- drift ------------------------------------------------------------------------------------


def _contrast(project: SmallProject) -> float:
    report = project.trait("refusal").manifest(ReportManifest)
    assert report.elicitation.contrast.value is not None
    return report.elicitation.contrast.value


@pytest.mark.slow
def test_rerun_vectors_report_how_far_they_have_moved(empty: SmallProject) -> None:
    empty.set(**FEW_VECTORS)
    assert empty.run("refusal").is_success
    assert "drift" not in empty.materializations("vectors", "refusal")[0].metadata
    before = empty.trait("refusal").metadata("validation_report")["elicitation"]["contrast"][
        "value"
    ]
    old = empty.trait("refusal").read_vector("mean_diff", 3)
    # Nothing is made again, and so nothing has moved.
    assert empty.run("refusal").is_success
    assert "drift" not in empty.materializations("vectors", "refusal")[0].metadata
    empty.define("refusal", changed_definition("Which is the best soup?"))
    assert empty.run("refusal").is_success
    metadata = empty.materializations("vectors", "refusal")[0].metadata
    now = _contrast(empty)
    new = empty.trait("refusal").read_vector("mean_diff", 3)
    cosine = float(new @ old / new.norm() / old.norm())
    assert metadata["drift_contrast"].value == pytest.approx(now - before, abs=1e-3)
    assert metadata["drift_cosine"].value == pytest.approx(cosine, abs=1e-3)
    rows = [record.data for record in metadata["drift"].value.records]  # type: ignore[union-attr]
    assert [row["what"] for row in rows] == ["contrast", "recommended"]


# -- failures ---------------------------------------------------------------------------------


def _fail_a_run(project: SmallProject, watched: str = "demo") -> tuple[Any, str]:
    """Let a run fail and evaluate the sensor; returns its result and the run's id."""
    failed = project.run("refusal", model="/no/such/model", **FEW_VECTORS)
    assert not failed.is_success
    run = project.instance.get_run_by_id(failed.run_id)
    (entry,) = project.instance.all_logs(failed.run_id, dg.DagsterEventType.RUN_FAILURE)
    assert run is not None
    assert entry.dagster_event is not None
    context = dg.build_run_status_sensor_context(
        sensor_name="failed_run_webhook", dagster_instance=project.instance, dagster_run=run,
        dagster_event=entry.dagster_event,
    ).for_run_failure()  # fmt: skip
    return build_failure_sensor([project.graph(watched)])(context), failed.run_id


def test_a_failed_run_is_posted_and_the_address_is_shown_nowhere(
    empty: SmallProject, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with listening() as (address, heard):
        monkeypatch.setenv(WEBHOOK_VARIABLE, address)
        with caplog.at_level(logging.DEBUG):
            _, run_id = _fail_a_run(empty)
    (message,) = heard
    assert "SECRET" not in caplog.text
    assert (message["experiment"], message["trait"]) == ("demo", "refusal")
    assert message["run_id"] == run_id
    assert "/no/such/model" in message["text"]
    with listening(status=500) as (address, heard):
        assert post(address, {}) == "it answered with 500"
    with listening(status=302) as (address, _):
        assert post(address, {}) == "it answered with 302"
    assert "cannot be reached" in post(address, {})
    assert "does not start with http" in post("file:///etc/passwd", {})
    for said in (post(address, {}), post("http://[SECRET", {}), post("http://SECRET .example", {})):
        assert said
        assert "SECRET" not in said
    secret = b"SECRET-0123456789"
    assert not [name for name, (_, data) in snapshot(empty.folder).items() if secret in data]


def test_a_failed_run_of_another_component_is_left_to_its_own_sensor(
    empty: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as (address, heard):
        monkeypatch.setenv(WEBHOOK_VARIABLE, address)
        answer, _ = _fail_a_run(empty, watched="other")
    assert heard == []
    assert isinstance(answer, dg.SkipReason)


def test_without_an_address_nothing_is_posted(
    empty: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEBHOOK_VARIABLE, raising=False)
    found, _ = _fail_a_run(empty)
    assert isinstance(found, dg.SkipReason)


def test_what_nobody_allowed_is_reported_once_and_not_run(
    auto: Ticking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.delenv("TRAITVEC_TRUST")
    project = auto.project
    project.set(judge_base_url="http://127.0.0.1:9/v1", judge_model="own")
    said = auto()
    assert not said.run_requests
    assert "refusal" in auto.partitions()
    assert said.skip_reason is not None
    assert "judge_base_url sends prompts" in str(said.skip_reason.skip_message)
    assert "`traitvec trust demo`" in str(said.skip_reason.skip_message)
    again = auto()
    assert not again.run_requests
    assert "traitvec trust" not in str(again.skip_reason)
    # A run from the UI says the same.
    run = project.run_job(project.graph().job, "refusal")
    assert not run.success
    messages = [
        event.step_failure_data.user_failure_data.description or ""
        for event in run.all_events
        if event.event_type == dg.DagsterEventType.STEP_FAILURE
        and event.step_failure_data.user_failure_data is not None
    ]
    assert any("`traitvec trust demo`" in message for message in messages)
    folder = project.graph().folder
    allow(folder, grants_of(folder, folder.settings()))
    assert "refusal" in auto.asked()
