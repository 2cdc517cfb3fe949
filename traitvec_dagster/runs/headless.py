"""Run traits without the UI: one Dagster run per trait, in this process.

Definitions and instance are those of the UI, so Dagster keeps the same history of these runs. All
runs of the process share the loaded model.
"""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import dagster as dg
from dagster import DagsterEventType

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES
from traitvec_core.stages.redo import Redo
from traitvec_core.storage.files import list_experiments
from traitvec_core.storage.trait_lock import using_trait
from traitvec_dagster.graph.checks import BLOCKING
from traitvec_dagster.graph.freshness import report_freshness
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.owner_overrides import owner_typed_overrides
from traitvec_dagster.graph.run_overrides import overrides_tags
from traitvec_dagster.project import Project
from traitvec_dagster.runs.ownership import EXPERIMENT_TAG, GPUS_TAG, process_tags
from traitvec_dagster.runs.recorded import create_run, execute_run

__all__ = [
    "TraitRun",
    "definitions_of",
    "run_trait",
    "select_stages",
]

# Ctrl-C, or `kill` without -9.
_INTERRUPTED = "DagsterExecutionInterruptedError"
_CANCELLED = "the run was cancelled in the UI; finished work is kept, run again to continue"
_DATABASE_DOWN = "DagsterPostgresException"
# Commas between parts of a selection: not those in quotes.
_AT_COMMAS = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
# A name, perhaps with what is before and after it: `2+vectors+`.
_PLAIN = re.compile(r"(?:\d*\+)?([A-Za-z_][\w-]*)(?:\+\d*)?")


@dataclass
class TraitRun:
    """The result of running one trait.

    Attributes:
        trait: The trait.
        run_id: Id of the Dagster run.
        is_success: Whether the run finished.
        problems: What stopped the run, one line per problem.
        verdicts: `pass`, `warn` or `fail` for every check that was evaluated.
        made: Seconds for every stage that was run.
        reused: Stages that were already fresh.
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
    """Return the project's definitions; they are built once per process."""
    project.enter()
    # Importing the module builds the definitions, so the environment must be set up first.
    from traitvec_dagster.definitions import build_definitions

    return build_definitions()


def select_stages(project: Project, experiment: str, selection: str) -> list[dg.AssetKey]:
    """Return the assets of a selection, in which stages go by their names.

    Args:
        project: The project.
        experiment: The experiment that the stages belong to.
        selection: `*`, or one or more parts with commas: a stage, or an expression in Dagster's
            syntax such as `activations+` or `+judged_responses`.

    Raises:
        TraitvecError: If a part names no stage, cannot be parsed, or selects no stage of the
            experiment.
    """
    parts = [part.strip() for part in _AT_COMMAS.split(selection)]
    if not any(parts):
        raise TraitvecError(f"--select {selection!r} names no stage; stages: {', '.join(STAGES)}")
    chosen: set[str] = set()
    for part in filter(None, parts):
        if part == "*":
            chosen |= set(STAGES)
        elif part in STAGES:
            chosen.add(part)
        elif (word := _PLAIN.fullmatch(part)) and word[1] not in STAGES:
            raise TraitvecError(
                f"--select {selection!r}: there is no stage {word[1]!r}; stages:"
                f" {', '.join(STAGES)}"
            )
        else:
            chosen |= _parse_selection(project, experiment, part)
    return [dg.AssetKey([experiment, stage]) for stage in STAGES if stage in chosen]


def _parse_selection(project: Project, experiment: str, selection: str) -> set[str]:
    """Return the stages of an expression in Dagster's syntax."""
    stages = "|".join(sorted(STAGES, key=len, reverse=True))
    full = re.sub(rf'(?<![\w/:"-])({stages})(?![\w/"-])', rf'key:"{experiment}/\1"', selection)
    graph = definitions_of(project).get_repository_def().asset_graph
    try:
        with warnings.catch_warnings():
            # Parts of the syntax are in beta, which is why the version of Dagster is pinned.
            warnings.simplefilter("ignore")
            keys = dg.AssetSelection.from_string(full).resolve(graph)
    except Exception as error:  # the parser's own exceptions are not public
        raise TraitvecError(
            f"--select {selection!r} cannot be parsed; examples: `vectors`, `activations+` (it and"
            f" everything after it), `*`. Stages: {', '.join(STAGES)}"
        ) from error
    # Leaves out the atlas, which belongs to all traits, and what the stages are made from.
    stage_keys = {dg.AssetKey([experiment, stage]) for stage in STAGES}
    chosen = {key.path[-1] for key in keys & stage_keys}
    if not chosen:
        raise TraitvecError(
            f"--select {selection!r} selects no stage of {experiment}; stages: {', '.join(STAGES)}"
        )
    return chosen


def run_trait(
    project: Project,
    instance: dg.DagsterInstance,
    experiment: str,
    trait: str,
    *,
    select: Sequence[dg.AssetKey],
    overrides: Mapping[str, Any],
    redo: Redo = Redo(),
) -> TraitRun:
    """Run the selected stages of one trait as one Dagster run in this process.

    Args:
        project: The project.
        instance: The project's Dagster instance.
        experiment: The experiment.
        trait: The trait; its partition is added if missing.
        select: Stages, as returned by `select_stages`.
        overrides: Settings that replace those of experiment.yaml for this run. The caller answers
            for them: unlike those of a run's config, they may name code to run.
        redo: Selected stages to make again although they are fresh.

    Raises:
        TraitvecError: If there is no such experiment.
        KeyboardInterrupt: If the run was interrupted; it is marked as failed.
    """
    if experiment not in list_experiments(project.experiments):
        raise TraitvecError(f"there is no experiment {experiment!r} under {project.experiments}")
    graph = Graph(str(project.experiments), experiment)
    folder = graph.folder.trait(trait)
    instance.add_dynamic_partitions(f"traits/{experiment}", [folder.name])
    job = definitions_of(project).resolve_job_def(graph.job)
    config = {"redo": list(redo.stages), "only_missing": redo.only_missing}
    with _in_use(folder.path), owner_typed_overrides(overrides):
        here, recorded = create_run(
            instance,
            job,
            partition=trait,
            select=select,
            run_config={
                "resources": {"overrides": {"config": config}},
                # The console would show every event; the instance stores them anyway.
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            tags={EXPERIMENT_TAG: experiment, **_tags(), **overrides_tags(overrides)},
        )
        events = list(execute_run(instance, here, recorded))
    run = TraitRun(trait, recorded.run_id, any(event.is_job_success for event in events))
    is_cancelled = any(event.event_type == DagsterEventType.RUN_CANCELED for event in events)
    if is_cancelled:
        run.problems.append(_CANCELLED)
    for event in events:
        if not (is_cancelled and event.is_step_failure):
            _read_event(event, run)
    # The sensor does it too, where Dagster's daemon runs.
    report_freshness(instance, graph, folder)
    return run


def _in_use(trait: Path) -> AbstractContextManager[None]:
    # Without a folder there is nothing to guard; the run says that the definition is missing.
    return using_trait(trait, "`traitvec run`") if trait.is_dir() else nullcontext()


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
        check = event.asset_check_evaluation_data
        is_warning = check.severity == dg.AssetCheckSeverity.WARN
        verdict = "pass" if check.passed else "warn" if is_warning else "fail"
        run.verdicts[check.check_name] = verdict
    elif event.event_type == DagsterEventType.STEP_FAILURE:
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            run.problems.append(failure.user_failure_data.description)
        elif failure.error is not None and failure.error.cls_name == _INTERRUPTED:
            # Dagster only marks the run as failed; the remaining traits must not start either.
            raise KeyboardInterrupt
        elif failure.error is not None:
            cause = failure.error.cause or failure.error
            line = cause.message.strip().splitlines()[0]
            if failure.error.cls_name == _DATABASE_DOWN:
                run.problems.append(f"{line}; fix Dagster's database, then run again to continue")
                return
            run.problems.append(
                f"{event.step_key} crashed: {line} (this is a bug; the traceback is in run"
                f" {run.run_id[:8]} in the UI)"
            )
