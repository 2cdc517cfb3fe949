"""The executor `k8s`: each step of a run a Kubernetes job of its own, by dagster-k8s.

Image, namespace, service account, volumes and the secrets with the keys are those of the run's own
pod: what the run launcher and the code location say (`deploy/helm-values.yaml`).
"""

import os
from typing import Any

import dagster as dg
from dagster import _check as check
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements

from traitvec_core.errors import TraitvecError
from traitvec_dagster.executors.lost_steps import LostStepsAgain

__all__ = ["GPU_NODES_VARIABLE", "gpu_pod", "kubernetes_executor"]

GPU_NODES_VARIABLE = "TRAITVEC_GPU_NODES"
_GPU = "nvidia.com/gpu"
# After a stage, its checks are all ready at once, and each is a pod.
_MAX_PODS_OF_A_RUN = 4


def kubernetes_executor() -> dg.ExecutorDefinition:
    """Return dagster-k8s' executor: at most four pods of a run at once, lost pods replaced.

    Its run config is that of `dagster_k8s.k8s_job_executor`.
    """
    from dagster_k8s import k8s_job_executor

    made = check.not_none(k8s_job_executor.executor_creation_fn)

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        config = {"max_concurrent": _MAX_PODS_OF_A_RUN, **context.executor_config}
        return _Executor(made(context._replace(executor_config=config)))

    return dg.ExecutorDefinition(
        name="k8s",
        config_schema=k8s_job_executor.config_schema.as_field(),
        requirements=multiple_process_executor_requirements(),
        executor_creation_fn=create,
    )


def gpu_pod() -> dict[str, Any]:
    """Return the tag `dagster-k8s/config` of a step that wants a GPU.

    It tolerates the taint that GPU nodes have by convention. `TRAITVEC_GPU_NODES` names the labels
    of the nodes, as `label=value,label=value`: for a cluster with several kinds of GPU.

    Raises:
        TraitvecError: If `TRAITVEC_GPU_NODES` is no list of labels.
    """
    pod: dict[str, Any] = {
        "tolerations": [{"key": _GPU, "operator": "Exists", "effect": "NoSchedule"}]
    }
    if nodes := _labels(os.environ.get(GPU_NODES_VARIABLE, "")):
        pod["node_selector"] = nodes
    return {
        "container_config": {"resources": {"limits": {_GPU: "1"}}},
        "pod_spec_config": pod,
    }


class _Executor(LostStepsAgain):
    """dagster-k8s' own, but for lost pods: out of memory, a lost node."""

    # A node that is under pressure is given time.
    delay_s = 10

    def __init__(self, made: Any) -> None:
        vars(self).update(vars(made))


def _labels(named: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in named.split(",") if pair.strip()]
    labels = {label.strip(): value.strip() for label, _, value in pairs}
    if not all(label and value for label, value in labels.items()):
        raise TraitvecError(
            f"{GPU_NODES_VARIABLE}={named!r} is no list of labels; write label=value, and a comma"
            " between two"
        )
    return labels
