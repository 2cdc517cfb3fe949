"""`traitvec run --redo`, its spending limit, and what the launchpad may do of it."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.projects import FEW_VECTORS, SmallProject, results
from traitvec_core.stage_names import STAGES, Stage

pytestmark = pytest.mark.slow

RUN = ("run", "--experiment", "demo", "--traits", "refusal")


def made_at(project: SmallProject, trait: str = "refusal") -> dict[Stage, int]:
    """When each stage's record was written, in the file system's own time."""
    folder = project.trait(trait)
    records = {stage: folder.provenance(stage) for stage in STAGES[1:]}
    from traitvec_core.stage_names import METADATA_FILE

    return {
        stage: (folder.path / METADATA_FILE[stage]).stat().st_mtime_ns
        for stage, record in records.items()
        if record is not None
    }


def test_stages_are_made_again_and_what_is_equal_is_reused(
    traitvec: Command, finished: SmallProject
) -> None:
    before, at = results(finished.trait("refusal").path), made_at(finished)
    other = made_at(finished, "uncertainty")
    done = traitvec(*RUN, "--redo", "responses", "--redo", "vectors")
    assert done.code == 0, done.err
    now = made_at(finished)
    assert {stage for stage in now if now[stage] != at[stage]} >= {"responses", "vectors"}
    # The same seed gives the same responses here, so what reads them is fresh.
    assert now["judged_responses"] == at["judged_responses"]
    assert now["activations"] == at["activations"]
    assert results(finished.trait("refusal").path) == before
    assert made_at(finished, "uncertainty") == other
    assert "reused: judged_responses, activations" in done.out
    assert set(finished.states("refusal").values()) == {"fresh"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--redo", "judged"),
            "redo: there is no stage 'judged'; did you mean 'judged_responses'?",
        ),
        (
            ("--redo", "responses", "--select", "vectors"),
            "--redo responses: --select 'vectors' leaves it out; select it too, or leave out"
            " --select",
        ),
        (
            ("--only-missing",),
            "only-missing is about judgements: use it with --redo judged_responses",
        ),
    ],
)
def test_what_cannot_be_redone_is_one_line(
    traitvec: Command, finished: SmallProject, options: tuple[str, ...], line: str
) -> None:
    at = made_at(finished)
    done = traitvec(*RUN, *options)
    assert done.code == 1
    assert done.error_lines == [f"error: {line}"]
    assert made_at(finished) == at


@pytest.mark.services
def test_several_processes_redo_too(traitvec: Command, finished: SmallProject) -> None:
    at = {trait: made_at(finished, trait) for trait in ("refusal", "uncertainty")}
    done = traitvec(
        "run", "--experiment", "demo", "--traits", "all", "--parallel", "2", "--redo", "vectors"
    )
    assert done.code == 0, done.err
    for trait, before in at.items():
        now = made_at(finished, trait)
        assert now["vectors"] != before["vectors"]
        assert now["activations"] == before["activations"]


@pytest.mark.services
def test_a_process_per_step_redoes_too(finished: SmallProject, tmp_path: Path) -> None:
    """The executor `multiprocess`, as in a run from the UI."""
    import os
    import subprocess
    import sys

    from tests.projects import REPOSITORY

    at = made_at(finished)
    code = (
        "import dagster as dg, traitvec_dagster.definitions as d\n"
        "from dagster import reconstructable\n"
        "def job():\n"
        "    return d.defs.resolve_job_def('demo_traits')\n"
    )
    (tmp_path / "steps.py").write_text(
        code + "\nif __name__ == '__main__':\n"
        "    import steps\n"
        "    with dg.DagsterInstance.get() as instance:\n"
        "        result = dg.execute_job(\n"
        "            reconstructable(steps.job), instance=instance,\n"
        "            tags={'dagster/partition': 'refusal'},\n"
        "            asset_selection=[\n"
        "                dg.AssetKey(['demo', s]) for s in ('activations', 'vectors')\n"
        "            ],\n"
        "            run_config={'resources': {'overrides': {'config': {'redo': ['vectors']}}}},\n"
        "        )\n"
        "        print('good' if result.success else 'failed')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "steps.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
            "TRAITVEC_EXECUTOR": "multiprocess",
            "TRAITVEC_EXPERIMENTS": str(finished.project.experiments),
            "DAGSTER_HOME": str(finished.project.dagster_home),
        },
    )  # fmt: skip
    assert done.stdout.strip().endswith("good"), done.stderr[-2000:]
    now = made_at(finished)
    assert now["vectors"] != at["vectors"]
    assert now["activations"] == at["activations"]
    (newest, *_) = finished.materializations("vectors", "refusal")
    assert newest.metadata["reused"].value is False


def test_the_owner_may_raise_what_judging_may_cost_and_the_launchpad_may_not(
    traitvec: Command, empty: SmallProject
) -> None:
    empty.set(max_judge_usd=2, **FEW_VECTORS)
    empty.instance.add_dynamic_partitions("traits/demo", ["refusal"])
    failed = empty.run_job("demo_traits", "refusal", max_judge_usd=3)
    assert not failed.success
    (failure,) = failed.get_step_failure_events()
    said = str(failure.step_failure_data.user_failure_data)
    assert "max_judge_usd: 3.0 is above the 2 of experiment.yaml" in said
    assert not (empty.trait("refusal").path / "responses").exists()
    done = traitvec(*RUN, "--max-judge-usd", "3", "--select", "responses")
    assert done.code == 0, done.err
    lower = empty.run_job("demo_traits", "refusal", max_judge_usd=1)
    assert lower.success
