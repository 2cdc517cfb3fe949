"""The executor `ray`: every step is a job on a Ray cluster.

The tag `dagster-ray/config` of a step says which resources it needs. Ray places the job on a node
that has them, and hides the GPUs that the job did not ask for.
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
from traitvec_core.storage.files import list_experiments
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.trust import TRUST_VARIABLE, trust_for_other_machines
from traitvec_dagster.executors.lost_steps import RetryLostSteps
from traitvec_dagster.project import Project

__all__ = ["has_plain_password", "ray_executor"]

_CHECK_EVERY_S = 5


@dg.executor(
    name="ray",
    config_schema={"retries": get_retries_config()},  # type: ignore[no-untyped-call]
    requirements=multiple_process_executor_requirements(),
)
def ray_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Run each step as a job on the Ray cluster at `RAY_ADDRESS`, or on the local one.

    Raises:
        TraitvecError: If no cluster answers, or if Ray's dashboard would show a password.
    """
    _reject_passwords(init_context.instance)
    handler = _StepHandler(
        client=_connect(),
        env_vars=None,
        runtime_env={"env_vars": _variables()},
        # A job that asks for nothing would run on the head node, however busy that is.
        num_cpus=1,
        num_gpus=None,
        memory=None,
        resources=None,
    )
    return RetryLostSteps(
        handler,
        retries=RetryMode.from_config(init_context.executor_config["retries"]),  # type: ignore[arg-type]
        check_step_health_interval_seconds=_CHECK_EVERY_S,
        should_verify_step=True,
    )


def has_plain_password(value: object, key: str = "") -> bool:
    """Return whether a configuration contains a password or an address with one, not `env:`."""
    if isinstance(value, Mapping):
        return any(has_plain_password(inner, str(name)) for name, inner in value.items())
    if isinstance(value, list):
        return any(has_plain_password(inner, key) for inner in value)
    return isinstance(value, str) and (
        "password" in key.lower() or re.search(r"://[^/@\s]*:[^/@\s]+@", value) is not None
    )


class _StepHandler(RayStepHandler):  # type: ignore[misc, unused-ignore]
    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        job = self._get_ray_job_submission_id(step_handler_context)
        try:
            status = self.client.get_job_status(job).value
        except RuntimeError:
            status = None
        if status == "STOPPED":
            # dagster-ray would wait for it forever.
            return CheckStepHealthResult.unhealthy(f"Ray job {job} was stopped")
        if status == "FAILED" and _found_no_resources(self.client.get_job_info(job)):
            self.client.delete_job(job)
            list(self.launch_step(step_handler_context))
            return CheckStepHealthResult.healthy()
        health: CheckStepHealthResult = super().check_step_health(step_handler_context)
        return health


def _found_no_resources(info: Any) -> bool:
    """Whether Ray gave up on a job because its resources were not free for 15 minutes."""
    return str(info.error_type) == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"


def _connect() -> Any:
    """Return a client of the cluster's job API."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc, unused-ignore]
        def submit_job(self, **job: Any) -> str:
            step = [sys.executable, "-m", __name__, "api", "execute_step"]
            return str(super().submit_job(**{**job, "entrypoint": shlex.join(step)}))

    try:
        return Client()
    except Exception as error:  # noqa: BLE001  # every kind of address raises its own
        address = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
        raise TraitvecError(
            f"no Ray cluster answers at {address or 'this machine'}"
            f" ({str(error).splitlines()[0] if str(error) else type(error).__name__});"
            " start one here with `ray start --head`, or set RAY_ADDRESS=http://HOST:8265"
        ) from None


def _variables() -> dict[str, str]:
    """Environment variables of a step. No keys: the cluster's dashboard shows them."""
    storage = os.environ.get(STORAGE_VARIABLE)
    root = Project().experiments
    trust = trust_for_other_machines(
        ExperimentFolder(root, name) for name in list_experiments(root)
    )
    return {
        "TRAITVEC_EXPERIMENTS": str(root),
        **({TRUST_VARIABLE: trust} if trust else {}),
        **({STORAGE_VARIABLE: storage} if storage else {}),
        "TRAITVEC_EXECUTOR": "ray",
        # Otherwise a step without a GPU would see all GPUs of its node.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    }


def _reject_passwords(instance: dg.DagsterInstance) -> None:
    """Raise if dagster.yaml has a password: every step gets it in a variable that Ray shows."""
    for part in instance.get_ref():
        if isinstance(part, ConfigurableClassData) and has_plain_password(part.config_dict):
            raise TraitvecError(
                "dagster.yaml: Ray's dashboard would show the password in plain text; replace it"
                " with {env: DAGSTER_PG_PASSWORD}, and put DAGSTER_PG_PASSWORD=… into .env"
            )


def _run_step() -> None:
    """Run the step that Dagster's variable names, with the keys from the `.env` on this node."""
    Project()
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run_step()
