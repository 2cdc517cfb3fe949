"""The severity that a check's result is stored with, from which Dagster's pages take its colour.

They count every trait whose result does not pass as failed, also a warning, and give the check one
colour: red or yellow by the severity of its latest result, whichever trait that is of and whether
it passes or not. So a result that passes, whose severity means nothing else, carries that of the
gravest result of the other traits: a check of which nothing but warnings stand is yellow.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from traitvec_core.validation.checks.result import CheckResult

__all__ = ["severity_of", "severity_of_trait"]

# The latest failed results that are read. What they leave open counts as an error.
_RESULTS, _RESULTS_PER_TRAIT = 20, 4


def severity_of(result: CheckResult) -> dg.AssetCheckSeverity:
    """Return how severe a result is that does not pass."""
    is_warning = result.verdict == "warn"
    return dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR


def severity_of_trait(
    instance: dg.DagsterInstance,
    key: dg.AssetCheckKey,
    result: CheckResult,
    others: Sequence[str],
) -> dg.AssetCheckSeverity:
    """Return the severity to store with a trait's result, as the check's colour needs it.

    Args:
        instance: The Dagster instance.
        key: The check.
        result: The trait's result.
        others: The other traits that there are.
    """
    if result.verdict == "pass" and _do_others_only_warn(instance, key, others):
        return dg.AssetCheckSeverity.WARN
    return severity_of(result)


def _do_others_only_warn(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, others: Sequence[str]
) -> bool:
    """Whether other traits' latest results of a check are warnings where they do not pass."""
    storage = instance.event_log_storage
    latest = {
        info.partition_key: info.latest_execution_status
        for info in storage.get_asset_check_partition_info([key], partition_keys=others)
    }
    if AssetCheckExecutionRecordStatus.PLANNED in latest.values():
        # It runs, and its own result decides; or it never came to a result.
        return False
    failed = AssetCheckExecutionRecordStatus.FAILED
    open_traits = {name for name, status in latest.items() if status == failed}
    if not open_traits:
        return False
    records = storage.get_asset_check_execution_history(
        key, limit=_RESULTS + _RESULTS_PER_TRAIT * len(open_traits), status={failed}
    )
    for record in records:
        evaluation = record.evaluation
        if evaluation is not None and evaluation.partition in open_traits:
            if evaluation.severity == dg.AssetCheckSeverity.ERROR:
                return False
            open_traits.remove(evaluation.partition)
    return not open_traits
