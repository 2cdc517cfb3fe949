"""The shape of the graph: keys, partitions, checks, jobs, and what loading it costs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from tests.projects import REPOSITORY, SmallProject, write_experiment
from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES
from traitvec_core.stages import SPECS
from traitvec_dagster.executors import executor_named
from traitvec_dagster.graph.checks import BLOCKING, CHECKED_STAGE
from traitvec_dagster.runs.headless import definitions_of

ON_GPU = {
    "responses", "judged_responses", "activations", "steering_evaluation", "trait_dynamics",
}  # fmt: skip
# The judge is compared with nothing, and steering is not evaluated.
WITHOUT_COMPARISON = {k: v for k, v in CHECKED_STAGE.items() if k not in {"agreement", "steering"}}
HEAVY = (
    "anthropic", "numpy", "openai", "sklearn", "torch", "traitvec_core.validation.lint",
    "traitvec_core.writing", "transformers",
)  # fmt: skip


@pytest.fixture
def two_experiments(empty: SmallProject) -> SmallProject:
    write_experiment(empty.folder, "gemma-like", ["refusal", "verbosity"])
    return empty


def _spec(project: SmallProject, experiment: str, stage: str) -> dg.AssetSpec:
    key = dg.AssetKey([experiment, stage])
    return next(
        spec
        for spec in definitions_of(project.project).resolve_all_asset_specs()
        if spec.key == key
    )


def test_the_same_assets_for_each_experiment(two_experiments: SmallProject) -> None:
    specs = definitions_of(two_experiments.project).resolve_all_asset_specs()
    assert {tuple(spec.key.path) for spec in specs} == {
        (experiment, *asset)
        for experiment in ("demo", "gemma-like")
        for asset in (
            *((stage,) for stage in STAGES),
            *(("inputs", f"{stage}_inputs") for stage in STAGES),
            ("trait_atlas",),
        )
    }
    for spec in specs:
        if "inputs" in spec.key.path:
            # Nothing to materialize, and in the lineage a group that can be closed.
            assert spec.group_name == f"{spec.key.path[0].replace('-', '_dash_')}_inputs"
            continue
        if spec.key.path[-1] == "trait_atlas":
            assert spec.partitions_def is None
            continue
        experiment, stage = spec.key.path
        # Dagster takes no "-" in the name of a group.
        assert spec.group_name == experiment.replace("-", "_dash_")
        assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
        assert spec.partitions_def.name == f"traits/{experiment}"
        assert spec.code_version == SPECS[stage].version  # type: ignore[index]
        assert spec.description
        assert spec.kinds
        assert all(dep.asset_key.path[0] == experiment for dep in spec.deps)


def test_only_what_runs_a_model_asks_for_a_gpu(two_experiments: SmallProject) -> None:
    graph = definitions_of(two_experiments.project).get_repository_def().asset_graph
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        op = node.assets_def.op
        if key.path[1] in ON_GPU:
            assert node.pools == {"gpu"}
            assert op.tags["dagster-ray/config"] == '{"num_gpus": 1}'
            limits = json.loads(op.tags["dagster-k8s/config"])
            assert limits["container_config"]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
        else:
            assert node.pools == set()
            assert not {"dagster-ray/config", "dagster-k8s/config"} & set(op.tags)


def test_every_check_is_partitioned_and_three_block(two_experiments: SmallProject) -> None:
    graph = definitions_of(two_experiments.project).get_repository_def().asset_graph
    for experiment in ("demo", "gemma-like"):
        keys = [key for key in graph.asset_check_keys if key.asset_key.path[0] == experiment]
        assert {key.name: key.asset_key.path[1] for key in keys} == WITHOUT_COMPARISON
        for key in keys:
            check = graph.get(key)
            assert check.blocking == (key.name in {"definition", "coverage", "sanity"})
            assert check.partitions_def == dg.DynamicPartitionsDefinition(
                name=f"traits/{experiment}"
            )
    assert {"definition", "coverage", "sanity"} == BLOCKING


def test_two_jobs_for_each_experiment(two_experiments: SmallProject) -> None:
    definitions = definitions_of(two_experiments.project)
    for experiment in ("demo", "gemma-like"):
        graph = two_experiments.graph(experiment)
        keys = {graph.key(stage) for stage in STAGES}
        whole = definitions.resolve_job_def(graph.job)
        assert set(whole.asset_layer.executable_asset_keys) == keys
        again = definitions.resolve_job_def(graph.recheck_job)
        # A job needs an asset beside its checks; this one is read and never computed.
        assert set(again.asset_layer.executable_asset_keys) == {graph.key("definition")}
        assert {key.name for key in again.asset_layer.asset_graph.asset_check_keys} == set(
            WITHOUT_COMPARISON
        )


def test_an_experiment_with_a_dash_runs(two_experiments: SmallProject) -> None:
    found = two_experiments.run("refusal", select="definition", experiment="gemma-like")
    assert found.is_success
    assert found.verdicts == {"definition": "pass"}
    assert two_experiments.instance.get_dynamic_partitions("traits/gemma-like") == ["refusal"]
    assert two_experiments.instance.get_dynamic_partitions("traits/demo") == []


def test_an_unknown_executor_is_one_line() -> None:
    assert executor_named("in_process") is dg.in_process_executor
    with pytest.raises(TraitvecError, match=r"in defs\.yaml, to one of in_process, multi"):
        executor_named("threads")


def test_folders_that_are_no_experiments_are_passed_over(
    tmp_path: Path, own_environment: None
) -> None:
    write_experiment(tmp_path, "good", ["refusal"])
    for name in (".git", "Has Space", "__pycache__"):
        (tmp_path / "experiments" / name).mkdir()
    (tmp_path / "experiments" / "notes.txt").write_text("no experiment")
    with SmallProject(tmp_path) as project:
        specs = definitions_of(project.project).resolve_all_asset_specs()
    assert {spec.key.path[0] for spec in specs} == {"good"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["dg", "check", "defs"], ["dagster", "definitions", "validate", "-w", "workspace.yaml"]],
    ids=["dg", "dagster"],
)
def test_dagster_accepts_the_project(command: list[str], tmp_path: Path) -> None:
    done = _in_repository(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]], tmp_path / "home"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_loading_the_location_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, traitvec_dagster.definitions as d;"
        "d.defs.get_repository_def();"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = _in_repository([sys.executable, "-c", code], tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


def _in_repository(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAITVEC")}
    return subprocess.run(
        command, cwd=REPOSITORY, env={**environment, "DAGSTER_HOME": str(home)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
