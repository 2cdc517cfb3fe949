"""The component that turns a folder of experiments into one asset graph each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path, list_experiments
from traitvec_dagster.automation import (
    build_atlas_sensor,
    build_condition_sensor,
    build_ended_run_sensors,
    build_failure_sensor,
    build_jobs,
    build_new_trait_job,
    build_new_trait_sensor,
    build_schedules,
    build_sensor,
    follow_data_versions,
)
from traitvec_dagster.executors.table import EXECUTORS, executor_named
from traitvec_dagster.graph.assets import build_assets
from traitvec_dagster.graph.atlas_asset import build_atlas_asset
from traitvec_dagster.graph.checks import build_checks
from traitvec_dagster.graph.freshness import build_inputs
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.run_overrides import build_overrides
from traitvec_dagster.scaffolder import ExperimentsScaffolder

__all__ = ["ExperimentsComponent"]


@dg.scaffold_with(ExperimentsScaffolder)
@dataclass
class ExperimentsComponent(dg.Component, dg.Resolvable):
    """Every folder under `experiments` becomes a graph with one dynamic partition per trait.

    A new trait needs no reload; a new experiment needs "Reload definitions".

    Attributes:
        experiments: The folder that holds the experiments, or several, absolute or relative to the
            project's root.
        executor: `in_process`, `multiprocess`, `ray` or `k8s`; None sets no executor.
    """

    experiments: Annotated[
        str | Sequence[str],
        dg.Resolver.default(
            description="The folder that holds the experiments, relative to the project (where"
            " pyproject.toml is); or a list of folders.",
            examples=["experiments", ["labs/one", "labs/two"]],
        ),
    ] = "experiments"
    executor: Annotated[
        str | None,
        dg.Resolver.default(
            description="Where the steps of runs from the UI run, for all assets of the code"
            f" location: {', '.join(EXECUTORS)}. null leaves it to the project.",
            examples=list(EXECUTORS),
        ),
    ] = "in_process"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the graphs of all experiments.

        Raises:
            TraitvecError: If a folder does not exist, two folders have an experiment of the same
                name, or the executor is unknown or not installed.
        """
        named = [self.experiments] if isinstance(self.experiments, str) else self.experiments
        graphs = _graphs([context.project_root / folder for folder in named])
        instance = _instance_prefix(context)
        jobs: list[Any] = [job for graph in graphs for job in build_jobs(graph)]
        jobs += [build_new_trait_job(graph) for graph in graphs]
        return dg.Definitions(
            assets=[
                *(
                    follow_data_versions(graph, asset)
                    for graph in graphs
                    for asset in build_assets(graph)
                ),
                *(build_atlas_asset(graph) for graph in graphs),
                *(inputs for graph in graphs for inputs in build_inputs(graph)),
            ],
            asset_checks=[check for graph in graphs for check in build_checks(graph)],
            jobs=jobs,
            sensors=[
                *(build_sensor(graph) for graph in graphs),
                *(build_condition_sensor(graph) for graph in graphs),
                *(build_atlas_sensor(graph) for graph in graphs),
                build_failure_sensor(graphs, f"{instance}failed_run_webhook"),
                *build_ended_run_sensors(graphs, instance),
                *(
                    [build_new_trait_sensor(graphs, jobs, f"{instance}new_trait_runs")]
                    if graphs
                    else []
                ),
            ],
            schedules=[schedule for graph in graphs for schedule in build_schedules(graph)],
            resources={"overrides": build_overrides()},
            executor=executor_named(self.executor) if self.executor is not None else None,
        )


def _graphs(folders: Sequence[Path]) -> list[Graph]:
    """Return the graphs of the experiments in all folders, sorted within each.

    Raises:
        TraitvecError: If a folder does not exist, or a name is there twice.
    """
    graphs: dict[str, Graph] = {}
    for folder in folders:
        if not folder.is_dir():
            raise TraitvecError(
                f"experiments: there is no folder {display_path(folder)}; correct the path, or"
                " create the folder"
            )
        # Absolute, because a step may run in a process with another working directory.
        root = str(folder.resolve())
        for name in list_experiments(root):
            if (other := graphs.get(name)) is not None:
                raise TraitvecError(
                    f"experiments: {name} is in {display_path(Path(other.root))} and in"
                    f" {display_path(folder)}; rename one of the two folders"
                )
            graphs[name] = Graph(root, name)
    return list(graphs.values())


def _instance_prefix(context: dg.ComponentLoadContext) -> str:
    """Return what tells this component's own sensors from those of another in the location.

    Empty outside of a `defs` folder.
    """
    path = context.component_path
    place = path.file_path.relative_to(context.defs_module_path)
    words = re.findall(r"[A-Za-z0-9]+", str(place.with_name("") if place.suffix else place))
    if path.instance_key:
        # Not the first of a file.
        words.append(str(path.instance_key))
    return "".join(f"{word}_" for word in words)
