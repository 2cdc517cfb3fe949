"""The executor `k8s`: every step is its own Kubernetes job, through dagster-k8s.

A step's pod gets the image, namespace, service account, volumes and secrets of the run's pod, which
the run launcher and the code location configure (`deploy/helm-values.yaml`).
"""

import os
from typing import Any

import dagster as dg
from dagster import _check as check
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements

from traitvec_core.errors import TraitvecError
from traitvec_dagster.executors.lost_steps import RetryLostSteps

__all__ = ["GPU_NODES_VARIABLE", "gpu_pod", "kubernetes_executor"]

GPU_NODES_VARIABLE = "TRAITVEC_GPU_NODES"
_GPU = "nvidia.com/gpu"
# When a stage ends, all its checks become ready at once, and each needs a pod.
_MAX_PODS_PER_RUN = 4


def kubernetes_executor() -> dg.ExecutorDefinition:
    """Return dagster-k8s' executor, with at most four pods per run, and with lost pods replaced.

    Takes the run config of `dagster_k8s.k8s_job_executor`.
    """
    from dagster_k8s import k8s_job_executor

    create_k8s = check.not_none(k8s_job_executor.executor_creation_fn)

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        config = {"max_concurrent": _MAX_PODS_PER_RUN, **context.executor_config}
        return _KubernetesExecutor(create_k8s(context._replace(executor_config=config)))

    return dg.ExecutorDefinition(
        name="k8s",
        config_schema=k8s_job_executor.config_schema.as_field(),
        requirements=multiple_process_executor_requirements(),
        executor_creation_fn=create,
    )


def gpu_pod() -> dict[str, Any]:
    """Return the value of the tag `dagster-k8s/config` for a step that needs a GPU.

    The pod tolerates the conventional taint of GPU nodes. In a cluster with several kinds of GPU,
    `TRAITVEC_GPU_NODES` selects nodes by their labels: `label=value,label=value`.

    Raises:
        TraitvecError: If `TRAITVEC_GPU_NODES` is not a list of labels.
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


class _KubernetesExecutor(RetryLostSteps):
    """dagster-k8s' executor, which also replaces lost pods (out of memory, a lost node)."""

    # Gives a node under pressure some time.
    delay_s = 10

    def __init__(self, executor: Any) -> None:
        vars(self).update(vars(executor))


def _labels(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    labels = {label.strip(): value.strip() for label, _, value in pairs}
    if not all(label and value for label, value in labels.items()):
        raise TraitvecError(
            f"{GPU_NODES_VARIABLE}={text!r} is not a list of labels; write label=value, separated"
            " by commas"
        )
    return labels
