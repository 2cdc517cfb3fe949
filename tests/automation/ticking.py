"""A sensor that is ticked by hand."""

import dagster as dg

from tests.projects import SmallProject
from traitvec_dagster.automation import build_sensor
from traitvec_dagster.runs.headless import definitions_of


class Ticking:
    """A sensor that is ticked by hand, as the daemon would."""

    def __init__(self, project: SmallProject, experiment: str = "demo") -> None:
        self.project = project
        self.graph = project.graph(experiment)
        self.sensor = build_sensor(self.graph)
        self.cursor: str | None = None

    def __call__(self) -> dg.SensorResult:
        context = dg.build_sensor_context(
            instance=self.project.instance, cursor=self.cursor,
            definitions=definitions_of(self.project.project),
        )  # fmt: skip
        found = self.sensor(context)
        assert isinstance(found, dg.SensorResult)
        for request in found.dynamic_partitions_requests or []:
            name, keys = str(request.partitions_def_name), list(request.partition_keys)
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.project.instance.add_dynamic_partitions(name, keys)
            else:
                for key in keys:
                    self.project.instance.delete_dynamic_partition(name, key)
        for event in found.asset_events:
            if isinstance(event, dg.AssetObservation):
                self.project.instance.report_runless_asset_event(event)
        self.cursor = found.cursor
        return found

    def asked(self) -> list[str]:
        """Tick; the traits of the runs that it asks for."""
        return [str(request.partition_key) for request in self().run_requests or []]

    def partitions(self) -> set[str]:
        return set(self.project.instance.get_dynamic_partitions(f"traits/{self.graph.experiment}"))
