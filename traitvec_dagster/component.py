"""The component that turns a folder of experiments into one asset graph each."""

from dataclasses import dataclass
from typing import Any

import dagster as dg

from traitvec_core.storage.files import list_experiments
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
from traitvec_dagster.executors import executor_named
from traitvec_dagster.graph.assets import build_assets
from traitvec_dagster.graph.atlas_asset import build_atlas_asset
from traitvec_dagster.graph.checks import build_checks
from traitvec_dagster.graph.freshness import build_inputs
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.run_overrides import build_overrides

__all__ = ["ExperimentsComponent"]


@dataclass
class ExperimentsComponent(dg.Component, dg.Resolvable):
    """Every folder under `experiments` becomes a graph with one dynamic partition per trait.

    A new trait needs no reload; a new experiment needs "Reload definitions".

    Attributes:
        experiments: The folder that holds the experiments.
        executor: `in_process`, `multiprocess`, `ray` or `k8s`.
    """

    experiments: str = "experiments"
    executor: str = "in_process"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the graphs of all experiments."""
        graphs = [Graph(self.experiments, name) for name in list_experiments(self.experiments)]
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
                *(build_atlas_sensor(graph) for graph in graphs),
                *(sensor for graph in graphs for sensor in build_condition_sensor(graph)),
                build_failure_sensor(graphs),
                *build_ended_run_sensors(graphs),
                *([build_new_trait_sensor(graphs, jobs)] if graphs else []),
            ],
            schedules=[schedule for graph in graphs for schedule in build_schedules(graph)],
            resources={"overrides": build_overrides()},
            executor=executor_named(self.executor),
        )
