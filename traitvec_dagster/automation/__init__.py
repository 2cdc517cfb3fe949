"""What starts runs of an experiment, and what reports the ones that fail."""

from traitvec_dagster.automation.atlas_after_backfill import build_atlas_sensor
from traitvec_dagster.automation.conditions import build_condition_sensor, follow_data_versions
from traitvec_dagster.automation.ended_runs import build_ended_run_sensors
from traitvec_dagster.automation.jobs import build_jobs
from traitvec_dagster.automation.new_trait import build_new_trait_job, build_new_trait_sensor
from traitvec_dagster.automation.schedules import build_schedules
from traitvec_dagster.automation.sensors import build_sensor
from traitvec_dagster.automation.unfinished import traits_in_progress
from traitvec_dagster.automation.webhook import build_failure_sensor

__all__ = [
    "build_atlas_sensor",
    "build_condition_sensor",
    "build_ended_run_sensors",
    "build_failure_sensor",
    "build_jobs",
    "build_new_trait_job",
    "build_new_trait_sensor",
    "build_schedules",
    "build_sensor",
    "follow_data_versions",
    "traits_in_progress",
]
