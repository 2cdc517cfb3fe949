"""Every stage is complete: its name, spec, file, record and presentation. A gap fails by name."""

import pytest

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import METADATA_FILE, STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.provenance import result_settings
from traitvec_dagster.graph.presentation import PRESENTATION

MADE = [stage for stage in STAGES if stage != "definition"]
each_stage = pytest.mark.parametrize("stage", STAGES)
each_made_stage = pytest.mark.parametrize("stage", MADE)


@each_stage
def test_a_stage_has_a_spec_in_a_file_of_its_name(stage: Stage) -> None:
    assert SPECS[stage].name == stage


@each_stage
def test_a_stage_has_a_presentation_in_dagster(stage: Stage) -> None:
    assert stage in PRESENTATION, f"{stage} has no row in traitvec_dagster/graph/presentation.py"
    assert PRESENTATION[stage].description
    settings = ExperimentSettings(model="embedded", judge_model="embedded")
    assert PRESENTATION[stage].kinds(settings)
    assert stage == "definition" or PRESENTATION[stage].metadata, f"{stage} shows nothing"


def test_there_are_no_rows_of_stages_that_do_not_exist() -> None:
    assert set(PRESENTATION) | set(METADATA_FILE) == set(STAGES)


@each_made_stage
def test_a_made_stage_keeps_a_record_and_has_a_maker(stage: Stage) -> None:
    assert stage in METADATA_FILE, f"{stage} has no metadata file in stage_names.py"
    assert SPECS[stage].metadata_file == METADATA_FILE[stage]
    assert SPECS[stage].make is not None, f"nothing makes {stage}"
    assert SPECS[stage].upstream, f"{stage} is made from nothing"


def test_records_do_not_share_a_file() -> None:
    assert len(set(METADATA_FILE.values())) == len(METADATA_FILE)


@each_stage
def test_upstream_stages_come_earlier(stage: Stage) -> None:
    assert all(STAGES.index(earlier) < STAGES.index(stage) for earlier in SPECS[stage].upstream)


@each_stage
def test_settings_of_a_stage_exist(stage: Stage) -> None:
    for name in SPECS[stage].settings:
        group, _, part = name.partition(".")
        assert group in ExperimentSettings.model_fields, f"{stage}: there is no setting {name}"
        if part:
            parts = ExperimentSettings.model_fields[group].annotation.model_fields  # type: ignore[union-attr]
            assert part in parts, f"{stage}: there is no setting {name}"


@each_stage
def test_a_stage_says_where_it_works_and_whether_it_is_on(stage: Stage) -> None:
    local = ExperimentSettings(model="embedded", judge_model="embedded")
    assert SPECS[stage].place(local) in {"gpu", "here"}
    assert SPECS[stage].is_on(local) in {True, False}


def test_settings_that_change_no_result_belong_to_no_stage() -> None:
    neutral = {"batch_size", "judge_mode", "max_judge_usd", "schedule", "auto_run", "engine_url",
               "engine_model"}  # fmt: skip
    assert not neutral & result_settings()
    assert {"model", "judge_model", "sampling", "threshold", "steering"} <= result_settings()
