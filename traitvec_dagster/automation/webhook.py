"""Post every failed run to a webhook, whatever started it."""

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from traitvec_core.remote.keys import redacted
from traitvec_core.visible_text import one_line
from traitvec_dagster.graph.names import Graph

__all__ = ["DEADLINE_S", "WEBHOOK_VARIABLE", "build_failure_sensor", "post"]

# The address is a secret: it is read from the environment and never shown.
WEBHOOK_VARIABLE = "TRAITVEC_WEBHOOK_URL"
DEADLINE_S = 10.0
_GRACE_S = 1.0
_MAX_CHARS = 1500


def build_failure_sensor(
    graphs: Sequence[Graph], name: str = "failed_run_webhook"
) -> dg.SensorDefinition:
    """Build the sensor that posts failed runs of experiments. Without an address it does nothing.

    Args:
        graphs: The experiments.
        name: The sensor's name.
    """
    experiments = {
        job: graph.experiment for graph in graphs for job in (*graph.jobs, graph.new_trait_job)
    }

    @dg.run_failure_sensor(
        name=name,
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Posts every failed run to the address in the variable {WEBHOOK_VARIABLE}.",
    )
    def failed_run_webhook(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        address = os.environ.get(WEBHOOK_VARIABLE, "").strip()
        if not address:
            return dg.SkipReason(f"{WEBHOOK_VARIABLE} is not set")
        experiment = _experiment(context.dagster_run, experiments)
        if experiment is None:
            # Of other assets in this code location; of other experiments, their sensor posts it.
            return dg.SkipReason("not a run of these experiments")
        problem = post(address, _message(context, experiment))
        if problem:
            # Not an exception: its traceback would contain the address.
            context.log.error(f"posting to {WEBHOOK_VARIABLE} failed: {problem}")
        return None

    return failed_run_webhook


def post(address: str, message: dict[str, Any], *, deadline_s: float = DEADLINE_S) -> str:
    """Post a message as JSON. Of the answer, only the status is read; no redirect is followed.

    Args:
        address: Where to; a secret.
        message: What to post.
        deadline_s: The longest time in seconds for everything, from the name's look-up on.

    Returns:
        What went wrong, without the address; empty if the message was accepted.
    """
    if not address.lower().startswith(("http://", "https://")):
        return "the address does not start with http:// or https://"
    results: list[str] = []
    # A look-up of a name cannot be cancelled, so a thread is left to it.
    thread = threading.Thread(
        target=lambda: results.append(asyncio.run(_post(address, message, deadline_s))), daemon=True
    )
    thread.start()
    thread.join(deadline_s + _GRACE_S)
    return results[0] if results else _late(deadline_s)


async def _post(address: str, message: dict[str, Any], deadline_s: float) -> str:
    import httpx

    try:
        async with asyncio.timeout(deadline_s):
            # httpx' own timeout starts again with every byte.
            client = httpx.AsyncClient(follow_redirects=False, timeout=deadline_s)
            with _no_request_log():
                async with (
                    client,
                    client.stream(
                        "POST", address, json=message, headers={"user-agent": "traitvec"}
                    ) as response,
                ):
                    return "" if response.is_success else f"it answered with {response.status_code}"
    except TimeoutError:
        return _late(deadline_s)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        # ImportError: the environment names a SOCKS proxy, which httpx needs a package for.
        return f"it cannot be reached ({type(error).__name__})"


def _late(deadline_s: float) -> str:
    return f"it did not answer within {deadline_s:g} s"


@contextmanager
def _no_request_log() -> Iterator[None]:
    """Silence httpx's log, which would show the address of every request."""
    logger = logging.getLogger("httpx")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _experiment(run: dg.DagsterRun, experiments: Mapping[str, str]) -> str | None:
    """Return the experiment of a run, given those of jobs; None if it belongs to none of them."""
    if run.job_name in experiments:
        return experiments[run.job_name]
    # Runs that the UI starts from assets have no named job; runs of a job have no selection.
    selected = {key.path[0] for key in run.asset_selection or ()}
    return next(iter(sorted(selected.intersection(experiments.values()))), None)


def _message(context: dg.RunFailureSensorContext, experiment: str) -> dict[str, Any]:
    run = context.dagster_run
    trait = run.tags.get("dagster/partition")
    subject = f"{experiment}/{trait}" if trait else experiment
    problem = one_line(redacted(_problem(context)))[:_MAX_CHARS]
    return {
        # Slack, Mattermost and similar chats show this field.
        "text": f"traitvec: run {run.run_id[:8]} of {subject} failed: {problem}",
        "experiment": experiment,
        "trait": trait,
        "job": run.job_name,
        "run_id": run.run_id,
        "problem": problem,
    }


def _problem(context: dg.RunFailureSensorContext) -> str:
    """The error of the step that failed, else what Dagster reports for the run."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            return failure.user_failure_data.description
        if failure.error is not None:
            cause = failure.error.cause or failure.error
            first_line, *_ = cause.message.strip().split("\n")
            return f"{event.step_key}: {first_line}"
    return context.failure_event.message or "unknown reason"
