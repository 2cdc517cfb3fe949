"""Where steps run, by one setting."""

import dagster as dg

from traitvec_core.errors import TraitvecError

__all__ = ["EXECUTORS", "executor_named"]

EXECUTORS: dict[str, dg.ExecutorDefinition] = {
    # Steps of a run share the loaded model, and a step costs milliseconds.
    "in_process": dg.in_process_executor,
    # A process for each step; forkserver, because a forked CUDA context is a broken one.
    "multiprocess": dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {}}, "max_concurrent": 1}, name="multiprocess"
    ),
}


def executor_named(name: str) -> dg.ExecutorDefinition:
    """Return the executor of that name.

    Raises:
        TraitvecError: If there is none.
    """
    if name not in EXECUTORS:
        raise TraitvecError(
            f"executor {name!r} is not known; set TRAITVEC_EXECUTOR to one of"
            f" {', '.join(EXECUTORS)}"
        )
    return EXECUTORS[name]
