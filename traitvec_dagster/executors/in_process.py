"""Executors that need nothing but this machine."""

import dagster as dg

__all__ = ["in_process_executor", "multiprocess_executor"]


def in_process_executor() -> dg.ExecutorDefinition:
    """Return Dagster's executor that runs all steps in the run's own process.

    The steps share the loaded model, and starting a step takes milliseconds.
    """
    return dg.in_process_executor


def multiprocess_executor() -> dg.ExecutorDefinition:
    """Return Dagster's executor with one process per step, one step at a time."""
    # Forkserver: CUDA does not work in a forked process.
    return dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {}}, "max_concurrent": 1}, name="multiprocess"
    )
