"""The table of executors: one row for each value of `TRAITVEC_EXECUTOR`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_dagster.executors.in_process import in_process_executor, multiprocess_executor

__all__ = ["EXECUTORS", "Executor", "executor_named"]


@dataclass(frozen=True)
class Executor:
    """One row of the table.

    Attributes:
        build: Returns the executor definition; called once `packages` are known to be installed.
        packages: Packages that it imports and that a plain installation lacks.
    """

    build: Callable[[], dg.ExecutorDefinition]
    packages: tuple[str, ...] = ()


def executor_named(name: str) -> dg.ExecutorDefinition:
    """Return the executor with that name; always the same object, or definitions cannot be merged.

    Raises:
        TraitvecError: If there is no such executor, or a package that it needs is not installed.
    """
    if name not in EXECUTORS:
        raise TraitvecError(
            f"unknown executor {name!r}; set TRAITVEC_EXECUTOR, or `executor` in defs.yaml, to one"
            f" of {', '.join(EXECUTORS)}"
        )
    executor = EXECUTORS[name]
    missing = [package for package in executor.packages if find_spec(package) is None]
    if missing:
        raise TraitvecError(
            f"TRAITVEC_EXECUTOR={name} needs {' and '.join(missing)}, not installed here; run"
            f" `pip install 'traitvec[{name}]'`, or choose another executor"
        )
    return _built(name)


@cache
def _built(name: str) -> dg.ExecutorDefinition:
    return EXECUTORS[name].build()


def _ray() -> dg.ExecutorDefinition:
    from traitvec_dagster.executors.ray import ray_executor

    return ray_executor


def _kubernetes() -> dg.ExecutorDefinition:
    from traitvec_dagster.executors.kubernetes import kubernetes_executor

    return kubernetes_executor()


EXECUTORS = {
    "in_process": Executor(in_process_executor),
    "multiprocess": Executor(multiprocess_executor),
    # Named like the extras of `traitvec` that install their packages.
    "ray": Executor(_ray, packages=("dagster_ray", "ray")),
    "k8s": Executor(_kubernetes, packages=("dagster_k8s",)),
}
"""Executors by the name that `TRAITVEC_EXECUTOR` takes."""
