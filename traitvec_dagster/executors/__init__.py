"""Where steps run, by one setting."""

from collections.abc import Callable
from importlib.util import find_spec

import dagster as dg

from traitvec_core.errors import TraitvecError

__all__ = ["EXECUTORS", "executor_named"]


def executor_named(name: str) -> dg.ExecutorDefinition:
    """Return the executor of that name.

    Raises:
        TraitvecError: If there is none, or what it needs is not installed.
    """
    if name not in EXECUTORS:
        raise TraitvecError(
            f"executor {name!r} is not known; set TRAITVEC_EXECUTOR to one of"
            f" {', '.join(EXECUTORS)}"
        )
    return EXECUTORS[name]()


def _in_process() -> dg.ExecutorDefinition:
    # Steps of a run share the loaded model, and a step costs milliseconds.
    return dg.in_process_executor


def _multiprocess() -> dg.ExecutorDefinition:
    # A process for each step; forkserver, because a forked CUDA context is a broken one.
    return dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {}}, "max_concurrent": 1}, name="multiprocess"
    )


def _ray() -> dg.ExecutorDefinition:
    _require("ray", "dagster_ray", "ray")
    from traitvec_dagster.executors.ray import ray_executor

    return ray_executor


def _k8s() -> dg.ExecutorDefinition:
    _require("k8s", "dagster_k8s")
    from traitvec_dagster.executors.kubernetes import kubernetes_executor

    return kubernetes_executor()


def _require(extra: str, *packages: str) -> None:
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        raise TraitvecError(
            f"TRAITVEC_EXECUTOR={extra} needs {' and '.join(absent)}, which is not installed;"
            f" `pip install 'traitvec[{extra}]'`, or set another executor"
        )


EXECUTORS: dict[str, Callable[[], dg.ExecutorDefinition]] = {
    "in_process": _in_process,
    "multiprocess": _multiprocess,
    "ray": _ray,
    "k8s": _k8s,
}
