"""The executor `k8s`: each step of a run a Kubernetes job of its own, by dagster-k8s.

Image, namespace, service account, volumes and the secrets with the keys are those of the run's own
pod: what the run launcher and the code location say (`deploy/helm-values.yaml`).
"""

import os
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import _check as check
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.objects import StepRetryData
from dagster._core.executor.step_delegating import StepDelegatingExecutor

from traitvec_core.errors import TraitvecError

if TYPE_CHECKING:
    from dagster._core.execution.context.system import IStepContext
    from dagster._core.execution.plan.state import KnownExecutionState
    from dagster_shared.error import SerializableErrorInfo

__all__ = ["GPU_NODES_VARIABLE", "gpu_pod", "kubernetes_executor"]

GPU_NODES_VARIABLE = "TRAITVEC_GPU_NODES"
_GPU = "nvidia.com/gpu"
# After a stage, its checks are all ready at once, and each is a pod.
_MAX_PODS_OF_A_RUN = 4
_MAX_LOST_PODS = 2
_DELAY_S = 10


def kubernetes_executor() -> dg.ExecutorDefinition:
    """Return dagster-k8s' executor: at most four pods of a run at once, lost pods replaced.

    Its run config is that of `dagster_k8s.k8s_job_executor`.
    """
    from dagster_k8s import k8s_job_executor

    made = check.not_none(k8s_job_executor.executor_creation_fn)

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        config = {"max_concurrent": _MAX_PODS_OF_A_RUN, **context.executor_config}
        return _LostPodsAgain(made(context._replace(executor_config=config)))

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


class _LostPodsAgain(StepDelegatingExecutor):
    """Starts a step again when its pod is gone without a word: out of memory, a lost node.

    A step that could still say why it failed is not repeated. A retry policy on the assets would
    repeat those too, and leave out the checks.
    """

    def __init__(self, made: Any) -> None:
        vars(self).update(vars(made))

    def log_failure_or_retry_event_after_error(
        self,
        step_context: "IStepContext",
        err_info: "SerializableErrorInfo",
        known_state: "KnownExecutionState",
    ) -> DagsterEvent:
        lost = known_state.get_retry_state().get_attempt_count(step_context.step.key)
        if self.retries.disabled or lost >= _MAX_LOST_PODS:
            return super().log_failure_or_retry_event_after_error(
                step_context, err_info, known_state
            )
        again = StepRetryData(error=err_info, seconds_to_wait=_DELAY_S)  # type: ignore[no-untyped-call]
        return DagsterEvent.step_retry_event(step_context, again)


def _labels(named: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in named.split(",") if pair.strip()]
    labels = {label.strip(): value.strip() for label, _, value in pairs}
    if not all(label and value for label, value in labels.items()):
        raise TraitvecError(
            f"{GPU_NODES_VARIABLE}={named!r} is no list of labels; write label=value, and a comma"
            " between two"
        )
    return labels
