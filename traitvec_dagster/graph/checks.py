"""The asset checks: partitioned, so that each trait keeps its own history."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import CheckName, ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.stages.provenance import refresh_elsewhere
from traitvec_core.validation.checks.limits import describe_limits
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.stored import stored_checks
from traitvec_core.validation.checks.table import CHECKS, checks_of, evaluate_check
from traitvec_core.visible_text import one_line
from traitvec_dagster.graph.check_events import check_metadata, evaluation_of
from traitvec_dagster.graph.check_severity import severity_of_trait
from traitvec_dagster.graph.failures import OneLineFailure, one_line_failure
from traitvec_dagster.graph.names import STAND_IN_SETTINGS, Graph
from traitvec_dagster.graph.run_overrides import SettingsOverrides

__all__ = ["BLOCKING", "CHECKED_STAGE", "build_checks"]

CHECKED_STAGE: dict[CheckName, Stage] = {name: check.stage for name, check in CHECKS.items()}
BLOCKING = frozenset(name for name, check in CHECKS.items() if check.is_blocking)


def build_checks(graph: Graph) -> list[dg.AssetChecksDefinition]:
    """Build the checks that one experiment asks for."""
    return [_build_check(graph, name) for name in _names(graph)]


def _names(graph: Graph) -> list[CheckName]:
    if graph.loaded is STAND_IN_SETTINGS:
        return [name for name in CHECKS if name != "agreement"]
    return checks_of(graph.loaded, map(graph.folder.trait, graph.folder.traits()))


def _description(graph: Graph, name: CheckName) -> str:
    parts = [CHECKS[name].description]
    if graph.loaded is not STAND_IN_SETTINGS and (limits := describe_limits(name, graph.loaded)):
        # A run reads the file again, and its result names the limits that it was held against.
        parts += [limits, "Limits as of the last reload of the definitions; runs use the file."]
    return " ".join(parts)


def _build_check(graph: Graph, name: CheckName) -> dg.AssetChecksDefinition:
    waits_for = [graph.key("steering_evaluation")] if CHECKS[name].is_of_recommended else []

    @dg.asset_check(
        asset=graph.key(CHECKS[name].stage),
        additional_deps=waits_for,
        name=name,
        description=_description(graph, name),
        blocking=CHECKS[name].is_blocking,
        partitions_def=graph.partitions,
    )
    def check(
        context: dg.AssetCheckExecutionContext, overrides: dg.ResourceParam[SettingsOverrides]
    ) -> Any:
        op = context.op_execution_context
        with one_line_failure(op):
            settings = _settings(name, graph, overrides)
            if op.has_partition_key:
                yield from _check_trait(name, graph, settings, op)
            else:
                yield from _check_all_traits(name, graph, settings, op)

    return check


def _settings(name: CheckName, graph: Graph, overrides: SettingsOverrides) -> ExperimentSettings:
    try:
        return overrides.settings_of(graph)
    except TraitvecError:
        if name != "definition":
            raise
        # The definition is as good as its file says; the next stage reports the settings.
        return STAND_IN_SETTINGS


def _check_trait(
    name: CheckName, graph: Graph, settings: ExperimentSettings, context: dg.OpExecutionContext
) -> Iterator[dg.AssetCheckResult]:
    folder = graph.trait(context)
    key = dg.AssetCheckKey(graph.key(CHECKS[name].stage), name)
    traits = context.instance.get_dynamic_partitions(str(graph.partitions.name))
    others = [trait for trait in traits if trait != folder.name]
    if name != "definition":
        # What a check reads of other experiments is what the report reads.
        refresh_elsewhere(["validation_report"], folder, settings)
    result = evaluate_check(name, folder, settings)
    yield dg.AssetCheckResult(
        passed=result.verdict == "pass",
        severity=severity_of_trait(context.instance, key, result, others),
        description=one_line(result.summary),
        metadata=check_metadata(result),
    )
    _stop_if_blocked(result)


def _check_all_traits(
    name: CheckName, graph: Graph, settings: ExperimentSettings, context: dg.OpExecutionContext
) -> Iterator[dg.AssetCheckEvaluation | dg.Output[None]]:
    """Evaluate a check in a run without a partition, as "Execute all" on its page launches one.

    Every trait that has the check's stage gets its verdict, in its own history.
    """
    graph.folder.refresh()
    instance = context.instance
    partitions = instance.get_dynamic_partitions(str(graph.partitions.name))
    key = dg.AssetCheckKey(graph.key(CHECKS[name].stage), name)
    results: dict[str, CheckResult] = {}
    for trait in sorted(set(graph.folder.traits()) & set(partitions)):
        folder = graph.folder.trait(trait)
        if name != "definition" and folder.provenance(CHECKS[name].stage) is None:
            continue
        results[trait] = stored_checks([name], folder, settings)[name]
        yield evaluation_of(instance, key, trait, results[trait])
    if not results:
        raise TraitvecError(
            f"no trait of {graph.experiment} has {CHECKS[name].stage} yet; materialize it, then"
            " check it"
        )
    summary = _summary(name, results)
    # Not an AssetCheckResult: for that, Dagster asks which partition the run has.
    yield evaluation_of(instance, key, None, summary)
    yield dg.Output(None, output_name=next(iter(context.selected_output_names)))
    _stop_if_blocked(summary)


def _stop_if_blocked(result: CheckResult) -> None:
    # Dagster's own error would say only that a blocking check failed.
    if result.verdict == "fail" and result.name in BLOCKING:
        raise OneLineFailure(f"{result.name}: {one_line(result.summary)}")


def _summary(name: CheckName, results: dict[str, CheckResult]) -> CheckResult:
    """One result for several traits; as bad as the worst."""
    failed = [trait for trait, result in results.items() if result.verdict == "fail"]
    warned = [trait for trait, result in results.items() if result.verdict == "warn"]
    parts = [f"{len(results) - len(failed) - len(warned)} of {len(results)} traits pass"]
    parts += [f"fails: {', '.join(failed)}"] if failed else []
    parts += [f"warns: {', '.join(warned)}"] if warned else []
    return CheckResult(
        name=name,
        verdict="fail" if failed else "warn" if warned else "pass",
        summary="; ".join(parts),
        figures={"traits": len(results), "failed": len(failed), "warned": len(warned)},
    )
