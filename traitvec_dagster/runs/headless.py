"""Run traits without the UI: the same definitions and instance, one run a trait, in this process.

All runs share the loaded model, and Dagster keeps their history as if the UI had started them.
"""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import dagster as dg
from dagster import DagsterEventType

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.files import list_experiments
from traitvec_dagster.graph.checks import BLOCKING
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.project import Project
from traitvec_dagster.runs.ownership import GPUS_TAG, process_tags

__all__ = [
    "TraitRun",
    "definitions_of",
    "run_trait",
    "select_stages",
]

# Ctrl-C, or a polite `kill`.
_INTERRUPTED = "DagsterExecutionInterruptedError"
_DATABASE_AWAY = "DagsterPostgresException"


@dataclass
class TraitRun:
    """What one run of one trait came to.

    Attributes:
        trait: The trait.
        run_id: Dagster's run.
        is_success: Whether the run finished.
        problems: One line for each thing that stopped it.
        verdicts: `pass`, `warn` or `fail` of every check that was evaluated.
        made: Seconds spent on every stage that was made.
        reused: Stages that were fresh already.
    """

    trait: str
    run_id: str
    is_success: bool
    problems: list[str] = field(default_factory=list)
    verdicts: dict[str, str] = field(default_factory=dict)
    made: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether the run finished and no blocking check failed."""
        return self.is_success and not any(self.verdicts.get(name) == "fail" for name in BLOCKING)


@cache
def definitions_of(project: Project) -> dg.Definitions:
    """Return a project's code location, built in this process once."""
    project.enter()
    # Its module builds the code location when it is imported, so the project comes first.
    from traitvec_dagster.definitions import build_definitions

    return build_definitions()


def select_stages(project: Project, experiment: str, selection: str) -> list[dg.AssetKey]:
    """Resolve a selection in Dagster's own syntax; a stage's bare name means this experiment's.

    Args:
        project: The project.
        experiment: The experiment.
        selection: For example `activations+`, `vectors`, `+judged_responses`, `*`.

    Raises:
        TraitvecError: If it cannot be read or selects nothing of this experiment.
    """
    stages = "|".join(sorted(STAGES, key=len, reverse=True))
    full = re.sub(
        rf'(?<![\w/:"-])({stages})(?![\w/"-])', rf'key:"{experiment}/\1"', selection.strip()
    )
    graph = definitions_of(project).get_repository_def().asset_graph
    try:
        with warnings.catch_warnings():
            # Parts of the syntax are marked as beta; the version is pinned for that.
            warnings.simplefilter("ignore")
            chosen = dg.AssetSelection.from_string(full).resolve(graph)
    except Exception as error:  # the parser's own exceptions are not public
        raise TraitvecError(
            f"--select {selection!r} cannot be read; examples: `vectors`, `activations+` (it and"
            f" all after it), `*`. Stages: {', '.join(STAGES)}"
        ) from error
    # The atlas is of all traits, and no stage of one.
    keys = [key for key in chosen if key.path[0] == experiment and key.path[-1] in STAGES]
    if not keys:
        raise TraitvecError(
            f"--select {selection!r} names no stage of {experiment}; stages: {', '.join(STAGES)}"
        )
    return keys


def run_trait(
    project: Project,
    instance: dg.DagsterInstance,
    experiment: str,
    trait: str,
    *,
    select: Sequence[dg.AssetKey],
    overrides: Mapping[str, Any],
) -> TraitRun:
    """Run the selected stages of one trait as one Dagster run in this process.

    Args:
        project: The project.
        instance: Its Dagster instance.
        experiment: The experiment; it must exist.
        trait: The trait; its partition is added.
        select: Stages, as `select_stages` returns them.
        overrides: Settings in place of the experiment's for this run.

    Raises:
        KeyboardInterrupt: If it was interrupted; the run is closed.
    """
    if experiment not in list_experiments(project.experiments):
        raise TraitvecError(f"there is no experiment {experiment!r} under {project.experiments}")
    graph = Graph(str(project.experiments), experiment)
    instance.add_dynamic_partitions(f"traits/{experiment}", [graph.folder.trait(trait).name])
    result = (
        definitions_of(project)
        .resolve_job_def(graph.job)
        .execute_in_process(
            instance=instance,
            partition_key=trait,
            asset_selection=list(select),
            run_config={
                "resources": {"overrides": {"config": {"settings": dict(overrides)}}},
                # The console log repeats every event; the instance keeps them all.
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            tags=_tags(),
            raise_on_error=False,
        )
    )
    run = TraitRun(trait, result.run_id, result.success)
    for event in result.all_events:
        _read_event(event, run)
    return run


def _tags() -> dict[str, str]:
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {**process_tags(), **({GPUS_TAG: devices} if devices else {})}


def _read_event(event: dg.DagsterEvent, run: TraitRun) -> None:
    if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
        materialization = event.step_materialization_data.materialization
        stage = materialization.asset_key.path[-1]
        metadata = materialization.metadata
        if "reused" in metadata:
            if metadata["reused"].value:
                run.reused.append(stage)
            else:
                run.made[stage] = float(cast(float, metadata["seconds"].value))
    elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
        found = event.asset_check_evaluation_data
        warns = found.severity == dg.AssetCheckSeverity.WARN
        verdict = "pass" if found.passed else "warn" if warns else "fail"
        run.verdicts[found.check_name] = verdict
        if verdict == "fail" and found.check_name in BLOCKING:
            run.problems.append(found.description or f"{found.check_name} failed")
    elif event.event_type == DagsterEventType.STEP_FAILURE:
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            run.problems.append(failure.user_failure_data.description)
        elif failure.error is not None and failure.error.cls_name == _INTERRUPTED:
            # Dagster makes a failed run of it; but no other trait is to begin.
            raise KeyboardInterrupt
        elif failure.error is not None and not _is_blocked(failure.error.cls_name):
            cause = failure.error.cause or failure.error
            line = cause.message.strip().splitlines()[0]
            if failure.error.cls_name == _DATABASE_AWAY:
                run.problems.append(f"{line}; mend Dagster's database, and run again to go on")
                return
            run.problems.append(
                f"{event.step_key} broke: {line} (this is a bug; the traceback is in the run"
                f" {run.run_id[:8]} in the UI)"
            )


def _is_blocked(error: str | None) -> bool:
    # Dagster's own error behind a failed blocking check; the check has said why.
    return error == "DagsterAssetCheckFailedError"
