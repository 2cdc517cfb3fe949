"""Retries lost steps, for executors whose steps are processes on other machines."""

from typing import TYPE_CHECKING

from dagster import DagsterEvent
from dagster._core.execution.plan.objects import StepRetryData
from dagster._core.executor.step_delegating import StepDelegatingExecutor

if TYPE_CHECKING:
    from dagster._core.execution.context.system import IStepContext
    from dagster._core.execution.plan.state import KnownExecutionState
    from dagster_shared.error import SerializableErrorInfo

__all__ = ["RetryLostSteps"]

_MAX_RETRIES = 2


class RetryLostSteps(StepDelegatingExecutor):
    """Retries a step, at most twice, if its process disappeared without reporting an error.

    A step that reported why it failed is not retried. (A retry policy on the assets would retry
    those too, and would not cover the checks.)

    Attributes:
        delay_s: Seconds to wait before a retry.
    """

    delay_s = 0

    def log_failure_or_retry_event_after_error(
        self,
        step_context: "IStepContext",
        err_info: "SerializableErrorInfo",
        known_state: "KnownExecutionState",
    ) -> DagsterEvent:
        """Retry a lost step. `StepDelegatingExecutor` calls this only for lost steps."""
        n_retries = known_state.get_retry_state().get_attempt_count(step_context.step.key)
        if self.retries.disabled or n_retries >= _MAX_RETRIES:
            return super().log_failure_or_retry_event_after_error(
                step_context, err_info, known_state
            )
        retry = StepRetryData(error=err_info, seconds_to_wait=self.delay_s)  # type: ignore[no-untyped-call]
        return DagsterEvent.step_retry_event(step_context, retry)
