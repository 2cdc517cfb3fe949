"""Under `traitvec ui`, a definition that breaks, and breaks otherwise, stops nobody."""

import json
from pathlib import Path

import dagster as dg
import pytest
from dagster import AssetCheckEvaluation

from tests.automation.ui_process import traitvec_ui, wait_for
from tests.projects import FEW_VECTORS, SmallProject, demo_definition, write_experiment

pytestmark = pytest.mark.services


def _evaluations(project: SmallProject, trait: str) -> list[AssetCheckEvaluation]:
    """What Dagster has stored of the check of one definition, oldest first."""
    runs = project.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": trait}))
    return [each for run in reversed(runs) for each in project.evaluations(run.run_id)]


def test_a_definition_that_breaks_twice_stops_neither_the_sensor_nor_other_traits(
    tmp_path: Path, own_environment: None
) -> None:
    write_experiment(tmp_path, "demo", ["refusal"], FEW_VECTORS)
    with traitvec_ui(tmp_path) as project:
        instance = project.instance
        wait_for(lambda: instance.get_dynamic_partitions("traits/demo"))
        path = project.trait("refusal").definition_path
        whole = json.loads(path.read_text())
        for number, text in enumerate(
            (json.dumps({**whole, "questions": []}), '{"instruction": 3}', "no JSON"), start=1
        ):
            path.write_text(text)
            project.define(f"new_{number}", demo_definition())
            found = wait_for(
                lambda expected=number: (
                    each if len(each := _evaluations(project, "refusal")) == expected else None
                )
            )
            assert (found[-1].check_name, found[-1].passed) == ("definition", False)
            assert found[-1].partition == "refusal"
            wait_for(
                lambda name=f"new_{number}": name in instance.get_dynamic_partitions("traits/demo")
            )
        assert len({each.description for each in found}) == 3
        path.write_text(json.dumps(whole))
        fixed = wait_for(lambda: [e for e in _evaluations(project, "refusal") if e.passed])
        assert fixed[-1].partition == "refusal"
        # Nothing but definitions was run, and no tick failed.
        assert all(not project.materializations("responses", t) for t in ("refusal", "new_1"))
        (state,) = [
            state for state in instance.all_instigator_state()
            if state.instigator_name == "demo_definitions"
        ]  # fmt: skip
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        assert len(ticks) > 3
        assert [tick.error for tick in ticks if tick.error] == []
