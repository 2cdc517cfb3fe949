"""Names in the graph of one experiment: keys, group, partitions."""

from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from traitvec_core.embedded import EMBEDDED_MODEL
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

__all__ = ["STAND_IN_SETTINGS", "Graph"]

STAND_IN_SETTINGS = ExperimentSettings(model=EMBEDDED_MODEL, judge_model=EMBEDDED_MODEL)
"""Stands in for an experiment.yaml that cannot be read; each run says what is wrong with it."""


@dataclass(frozen=True)
class Graph:
    """One experiment's asset graph.

    Attributes:
        root: The folder that holds all experiments.
        experiment: The experiment's name.
    """

    root: str
    experiment: str

    @cached_property
    def folder(self) -> ExperimentFolder:
        """The experiment on disk."""
        return ExperimentFolder(self.root, self.experiment)

    @cached_property
    def loaded(self) -> ExperimentSettings:
        """The settings when the code location is loaded, which fix kinds, pools, owners and tags.

        A file that cannot be read counts as `STAND_IN_SETTINGS`.
        """
        try:
            return self.folder.settings()
        except TraitvecError:
            return STAND_IN_SETTINGS

    @cached_property
    def partitions(self) -> dg.DynamicPartitionsDefinition:
        """One partition per trait."""
        return dg.DynamicPartitionsDefinition(name=f"traits/{self.experiment}")

    @property
    def python_name(self) -> str:
        """The experiment's name where Dagster allows only letters, digits and underscores."""
        return self.experiment.replace("-", "_dash_")

    @property
    def group(self) -> str:
        """The asset group."""
        return self.python_name

    @property
    def inputs_group(self) -> str:
        """The group of what the stages are made from."""
        return f"{self.python_name}_inputs"

    @property
    def sensor(self) -> str:
        """The name of the sensor that watches the experiment's files."""
        return f"{self.python_name}_definitions"

    @property
    def atlas_sensor(self) -> str:
        """The name of the sensor that makes the atlas after a backfill."""
        return f"{self.python_name}_atlas_after_backfill"

    @property
    def job(self) -> str:
        """The name of the job that makes all stages."""
        return f"{self.python_name}_traits"

    @property
    def recheck_job(self) -> str:
        """The name of the job that evaluates the checks again."""
        return f"{self.python_name}_recheck"

    @property
    def new_trait_job(self) -> str:
        """The name of the job that writes a definition."""
        return f"{self.python_name}_new_trait"

    @property
    def jobs(self) -> tuple[str, str]:
        """The jobs that run a trait."""
        return self.job, self.recheck_job

    def key(self, stage: Stage) -> dg.AssetKey:
        """Return the asset key of a stage."""
        return dg.AssetKey([self.experiment, stage])

    def inputs_key(self, stage: Stage) -> dg.AssetKey:
        """Return the key of the external asset that stands for all that a stage is made from."""
        # The lineage shows the last part alone, beside the stages.
        return dg.AssetKey([self.experiment, "inputs", f"{stage}_inputs"])

    def trait(self, context: dg.AssetExecutionContext | dg.OpExecutionContext) -> TraitFolder:
        """Return the folder of a run's trait, up to date with the bucket where there is one.

        Raises:
            TraitvecError: If the run has no partition, its key cannot be a folder name, it has been
                deleted, or the bucket cannot be reached.
        """
        if not context.has_partition_key:
            raise TraitvecError(
                f"this run has no partition; choose a trait from traits/{self.experiment}"
            )
        folder = self.folder.trait(context.partition_key)
        self.check_partition(context)
        folder.refresh()
        return folder

    def check_partition(self, context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
        """Check that a run's partition has not been deleted since the run started.

        Dagster stores nothing for a partition that is gone; it crashes.

        Raises:
            TraitvecError: If it has been deleted.
        """
        name, key = str(self.partitions.name), context.partition_key
        if not context.instance.has_dynamic_partition(name, key):
            raise TraitvecError(
                f"the partition {key!r} was deleted while this run was at work; what is finished is"
                f" kept: add the partition to {name} again, then run again"
            )
