"""Tell a webhook of every run that fails, whoever started it."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from traitvec_core.judging.failures import redacted
from traitvec_dagster.graph.names import Graph

__all__ = ["WEBHOOK_VARIABLE", "build_failure_sensor", "post"]

# The address is a secret of its own: it is read from the environment and shown nowhere.
WEBHOOK_VARIABLE = "TRAITVEC_WEBHOOK_URL"
_TIMEOUT_S = 10.0
_MAX_CHARS = 1500


def build_failure_sensor(graphs: Sequence[Graph]) -> dg.SensorDefinition:
    """Build the sensor that posts failed runs; without an address it does nothing."""
    experiments = {job: graph.experiment for graph in graphs for job in graph.jobs}

    @dg.run_failure_sensor(
        name="tell_of_failures",
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Posts every failed run to the address in {WEBHOOK_VARIABLE} (in .env).",
    )
    def tell_of_failures(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        address = os.environ.get(WEBHOOK_VARIABLE, "").strip()
        if not address:
            return dg.SkipReason(f"{WEBHOOK_VARIABLE} is not set")
        problem = post(address, _message(context, experiments))
        if problem:
            # Not an exception: its traceback would hold the address.
            context.log.error(f"the webhook in {WEBHOOK_VARIABLE} was not told: {problem}")
        return None

    return tell_of_failures


def post(address: str, message: dict[str, Any]) -> str:
    """Post a message as JSON; returns what went wrong, without the address, or nothing."""
    try:
        if urlsplit(address).scheme not in {"http", "https"}:
            return "it is no http:// or https:// address"
        request = urllib.request.Request(  # noqa: S310  # the scheme was just checked
            address,
            json.dumps(message).encode(),
            {"content-type": "application/json", "user-agent": "traitvec"},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        return f"it answered with {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        return f"it cannot be reached ({type(error).__name__})"


def _message(context: dg.RunFailureSensorContext, experiments: Mapping[str, str]) -> dict[str, Any]:
    run = context.dagster_run
    trait = run.tags.get("dagster/partition")
    # Runs that the UI starts from assets have a job without a name, those of a job no selection.
    selected = {key.path[0] for key in run.asset_selection or ()}
    experiment = experiments.get(run.job_name) or next(iter(selected), None)
    what = f"{experiment or run.job_name}/{trait}" if trait else experiment or run.job_name
    problem = redacted(_problem(context))[:_MAX_CHARS]
    return {
        # What Slack, Mattermost and their like show.
        "text": f"traitvec: run {run.run_id[:8]} of {what} failed: {problem}",
        "experiment": experiment,
        "trait": trait,
        "job": run.job_name,
        "run_id": run.run_id,
        "problem": problem,
    }


def _problem(context: dg.RunFailureSensorContext) -> str:
    """What the step that failed says, or what Dagster says of the run."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            return failure.user_failure_data.description
        if failure.error is not None:
            cause = failure.error.cause or failure.error
            return f"{event.step_key}: {cause.message.strip().splitlines()[0]}"
    return context.failure_event.message or "for no known reason"
