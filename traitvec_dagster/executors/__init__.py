"""Where the steps of a run are executed."""

from traitvec_dagster.executors.table import EXECUTORS, executor_named

__all__ = ["EXECUTORS", "executor_named"]
