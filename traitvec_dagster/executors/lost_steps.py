"""What executors share whose steps are processes elsewhere: a step that was lost is begun again."""

from typing import TYPE_CHECKING

from dagster import DagsterEvent
from dagster._core.execution.plan.objects import StepRetryData
from dagster._core.executor.step_delegating import StepDelegatingExecutor

if TYPE_CHECKING:
    from dagster._core.execution.context.system import IStepContext
    from dagster._core.execution.plan.state import KnownExecutionState
    from dagster_shared.error import SerializableErrorInfo

__all__ = ["LostStepsAgain"]

_MAX_RETRIES = 2


class LostStepsAgain(StepDelegatingExecutor):
    """Begins a step again, twice at most, whose process is gone without a word.

    A step that could still say why it failed is not repeated. A retry policy on the assets would
    repeat those too, and leave out the checks.

    Attributes:
        delay_s: Seconds before it begins again.
    """

    delay_s = 0

    def log_failure_or_retry_event_after_error(
        self,
        step_context: "IStepContext",
        err_info: "SerializableErrorInfo",
        known_state: "KnownExecutionState",
    ) -> DagsterEvent:
        """See `StepDelegatingExecutor`, which calls this for lost steps alone."""
        lost = known_state.get_retry_state().get_attempt_count(step_context.step.key)
        if self.retries.disabled or lost >= _MAX_RETRIES:
            return super().log_failure_or_retry_event_after_error(
                step_context, err_info, known_state
            )
        again = StepRetryData(error=err_info, seconds_to_wait=self.delay_s)  # type: ignore[no-untyped-call]
        return DagsterEvent.step_retry_event(step_context, again)
