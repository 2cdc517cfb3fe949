"""Each step of a run as a job on a Ray cluster.

What the steps ask for stands on them as `dagster-ray/config`. Ray finds a node that has it, and
masks the GPUs of the others.
"""

import os
import re
import runpy
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandlerContext
from dagster._serdes import ConfigurableClassData
from dagster_ray.core.executor import RayStepHandler

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.bucket import STORAGE_VARIABLE
from traitvec_dagster.executors.lost_steps import LostStepsAgain
from traitvec_dagster.project import Project

__all__ = ["ray_executor"]

_LOOK_EVERY_S = 5


@dg.executor(
    name="ray",
    config_schema={"retries": get_retries_config()},  # type: ignore[no-untyped-call]
    requirements=multiple_process_executor_requirements(),
)
def ray_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Run each step as a job of the Ray cluster that `RAY_ADDRESS` names, or of the local one.

    Raises:
        TraitvecError: If no cluster answers, or a password would be shown there.
    """
    _refuse_passwords(init_context.instance)
    handler = _StepHandler(
        client=_connect(),
        env_vars=None,
        runtime_env={"env_vars": _variables()},
        # A job that asks for nothing would run on the head node, whatever runs there.
        num_cpus=1,
        num_gpus=None,
        memory=None,
        resources=None,
    )
    return LostStepsAgain(
        handler,
        retries=RetryMode.from_config(init_context.executor_config["retries"]),  # type: ignore[arg-type]
        check_step_health_interval_seconds=_LOOK_EVERY_S,
        should_verify_step=True,
    )


class _StepHandler(RayStepHandler):  # type: ignore[misc, unused-ignore]
    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        job = self._get_ray_job_submission_id(step_handler_context)
        try:
            status = self.client.get_job_status(job).value
        except RuntimeError:
            status = None
        if status == "STOPPED":
            # Otherwise it would be waited for without end.
            return CheckStepHealthResult.unhealthy(f"Ray job {job} was stopped")
        if status == "FAILED" and _has_waited_in_vain(self.client.get_job_info(job)):
            self.client.delete_job(job)
            list(self.launch_step(step_handler_context))
            return CheckStepHealthResult.healthy()
        health: CheckStepHealthResult = super().check_step_health(step_handler_context)
        return health


def _has_waited_in_vain(info: Any) -> bool:
    """Whether nothing of what a job asks for was free for a quarter of an hour."""
    return str(info.error_type) == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"


def _connect() -> Any:
    """Open the jobs' API of the cluster."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc, unused-ignore]
        def submit_job(self, **asked: Any) -> str:
            step = [sys.executable, "-m", __name__, "api", "execute_step"]
            return str(super().submit_job(**{**asked, "entrypoint": shlex.join(step)}))

    try:
        return Client()
    except Exception as error:  # noqa: BLE001  # each kind of address fails in its own way
        named = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
        raise TraitvecError(
            f"no Ray cluster answers at {named or 'this machine'}"
            f" ({str(error).splitlines()[0] if str(error) else type(error).__name__});"
            " `ray start --head` starts one here, RAY_ADDRESS=http://HOST:8265 names another"
        ) from None


def _variables() -> dict[str, str]:
    """What a step is told by its environment, which the cluster's dashboard shows: no keys."""
    named = os.environ.get(STORAGE_VARIABLE)
    return {
        "TRAITVEC_EXPERIMENTS": str(Project().experiments),
        **({STORAGE_VARIABLE: named} if named else {}),
        "TRAITVEC_EXECUTOR": "ray",
        # Or a step without a GPU would see all GPUs of its node.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    }


def _refuse_passwords(instance: dg.DagsterInstance) -> None:
    """Dagster sends its dagster.yaml to every step in a variable, which the dashboard shows."""
    for part in instance.get_ref():
        if isinstance(part, ConfigurableClassData) and _has_password(part.config_dict):
            raise TraitvecError(
                "dagster.yaml: a password in plain text would be shown in Ray's dashboard; write"
                " {env: NAME} in its place, and NAME=… into .env"
            )


def _has_password(value: object, key: str = "") -> bool:
    if isinstance(value, Mapping):
        return any(_has_password(inner, str(name)) for name, inner in value.items())
    if isinstance(value, list):
        return any(_has_password(inner, key) for inner in value)
    return isinstance(value, str) and (
        "password" in key.lower() or re.search(r"://[^/@\s]*:[^/@\s]+@", value) is not None
    )


def _do_step() -> None:
    """Do the step that Dagster's variable names, with the keys of the `.env` on this node."""
    Project()
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _do_step()
