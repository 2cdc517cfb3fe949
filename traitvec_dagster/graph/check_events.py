"""What a run stores of checks: evaluations, and verdicts that a failed run leaves as they are."""

from typing import Any

import dagster as dg
from dagster import DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.event_api import PartitionKeyFilter

from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.visible_text import one_line
from traitvec_dagster.graph.check_severity import severity_of
from traitvec_dagster.graph.metadata_values import Metadata, findings_table, shown
from traitvec_dagster.ui.addresses import docs_url

__all__ = ["check_metadata", "evaluation_of", "keep_verdicts", "store_evaluation"]

_KEPT_FROM = "kept_from_run"
_PARTITION_TAG = "dagster/partition"
_HISTORY = 20
_LIMITS = ("passes_", "warns_", "fails_")


def check_metadata(result: CheckResult) -> Metadata:
    """Return a check's figures, its advice and its owner's note as metadata."""
    metadata: dict[str, Any] = {}
    for key, value in result.figures.items():
        if value is not None:
            is_limit = key.startswith(_LIMITS) and not isinstance(value, str)
            # A limit is the same for every trait, and Dagster plots every number.
            known = round(value, 4) if isinstance(value, float) else value
            metadata[key] = f"{value:g}" if is_limit else known
    if result.findings:
        metadata["findings"] = findings_table(result.findings)
    if result.advice:
        metadata["advice"] = result.advice
        if (help_url := docs_url(result.advice)) is not None:
            metadata["help"] = help_url
    if result.accepted:
        metadata["accepted"] = result.accepted
    return shown(metadata)


def evaluation_of(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, trait: str | None, result: CheckResult
) -> dg.AssetCheckEvaluation:
    """Return the evaluation of one trait, for a run that has no partition.

    Args:
        instance: The Dagster instance.
        key: The check.
        trait: The trait, whose latest materialization is the one that was checked; None for a
            result of all traits.
        result: The check's result.
    """
    records = (
        instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key.asset_key, asset_partitions=[trait]), limit=1
        ).records
        if trait is not None
        else ()
    )
    target = None
    if records:
        record = records[0]
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.verdict == "pass",
        severity=severity_of(result),
        description=one_line(result.summary),
        metadata=check_metadata(result),
        target_materialization_data=target,
        partition=trait,
    )


def keep_verdicts(
    instance: dg.DagsterInstance, run: dg.DagsterRun, *, of_any: bool = False
) -> frozenset[dg.AssetCheckKey]:
    """Store the last verdict again for every check that a run planned and did not reach.

    Dagster shows such a check as "Execution failed", though nothing about its result has changed.
    A check that the run reaches after all replaces what is stored here.

    Args:
        instance: The Dagster instance.
        run: The run, which is about to fail or has ended.
        of_any: Whether to take the latest verdict of any trait and keep it as that trait's, because
            the run's partition is gone. What an asset's node shows is its latest verdict.

    Returns:
        The checks that have no earlier verdict.
    """
    partition = None if of_any else run.tags.get(_PARTITION_TAG)
    planned = {
        event.asset_check_planned_data.asset_check_key
        for event in _events(instance, run, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    }
    evaluated = {
        event.asset_check_evaluation_data.asset_check_key
        for event in _events(instance, run, DagsterEventType.ASSET_CHECK_EVALUATION)
    }
    never = set()
    for key in sorted(planned - evaluated):
        last = _last_verdict(instance, key, partition)
        if last is None:
            never.add(key)
            continue
        source, evaluation = last
        kept = dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=evaluation.passed,
            severity=evaluation.severity,
            description=evaluation.description,
            metadata={_KEPT_FROM: source, **evaluation.metadata},
            target_materialization_data=evaluation.target_materialization_data,
            blocking=evaluation.blocking,
            partition=evaluation.partition if of_any else partition,
        )
        store_evaluation(
            instance, run, kept, f"{key.name} was not evaluated in this run; its last verdict stays"
        )
    return frozenset(never)


def store_evaluation(
    instance: dg.DagsterInstance, run: dg.DagsterRun, evaluation: dg.AssetCheckEvaluation, text: str
) -> None:
    """Store an evaluation in a run, whatever becomes of the step that works; `text` is logged."""
    event = dg.DagsterEvent(
        event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name=run.job_name,
        message=text,
        event_specific_data=evaluation,
    )
    instance.report_dagster_event(event, run_id=run.run_id)


def _events(
    instance: dg.DagsterInstance, run: dg.DagsterRun, kind: DagsterEventType
) -> list[dg.DagsterEvent]:
    entries = instance.all_logs(run.run_id, kind)
    return [entry.dagster_event for entry in entries if entry.dagster_event is not None]


def _last_verdict(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, partition: str | None
) -> tuple[str, dg.AssetCheckEvaluation] | None:
    """The latest evaluation and its run; of any trait where the run has no partition."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        key,
        limit=_HISTORY,
        partition_filter=PartitionKeyFilter(key=partition) if partition is not None else None,
    )
    for record in records:
        event = record.event.dagster_event if record.event is not None else None
        if event is not None and event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            return record.run_id, event.asset_check_evaluation_data
    return None
