"""The asset checks: partitioned, so that each trait keeps its own history."""

from typing import Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import CheckName
from traitvec_core.stage_names import Stage
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.checks.table import CHECKS, checks_of, evaluate_check
from traitvec_core.visible_text import one_line
from traitvec_dagster.graph.metadata_values import shown
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.run_overrides import SettingsOverrides

__all__ = ["BLOCKING", "CHECKED_STAGE", "build_checks"]

CHECKED_STAGE: dict[CheckName, Stage] = {name: check.stage for name, check in CHECKS.items()}
BLOCKING = frozenset(name for name, check in CHECKS.items() if check.is_blocking)


def build_checks(graph: Graph) -> list[dg.AssetChecksDefinition]:
    """Build the checks that one experiment asks for."""
    return [_build_check(graph, name) for name in _names(graph)]


def _names(graph: Graph) -> list[CheckName]:
    try:
        settings = graph.folder.settings()
    except TraitvecError:
        # Each run says what is wrong with the file.
        return [name for name in CHECKS if name != "agreement"]
    return checks_of(settings, map(graph.folder.trait, graph.folder.traits()))


def _build_check(graph: Graph, name: CheckName) -> dg.AssetChecksDefinition:
    waits_for = [graph.key("steering_evaluation")] if CHECKS[name].is_of_recommended else []

    @dg.asset_check(
        asset=graph.key(CHECKS[name].stage),
        additional_deps=waits_for,
        name=name,
        description=CHECKS[name].description,
        blocking=CHECKS[name].is_blocking,
        partitions_def=graph.partitions,
    )
    def check(
        context: dg.AssetCheckExecutionContext, overrides: dg.ResourceParam[SettingsOverrides]
    ) -> dg.AssetCheckResult:
        try:
            folder = graph.trait(context.op_execution_context)
            result = evaluate_check(name, folder, overrides.settings_of(graph))
        except TraitvecError as error:
            result = CheckResult(name=name, verdict="fail", summary=str(error))
        metadata: dict[str, Any] = {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in result.figures.items()
            if value is not None
        }
        if result.advice:
            metadata["advice"] = result.advice
        return dg.AssetCheckResult(
            passed=result.verdict == "pass",
            severity=dg.AssetCheckSeverity.WARN
            if result.verdict == "warn"
            else dg.AssetCheckSeverity.ERROR,
            description=one_line(result.summary),
            metadata=shown(metadata),
        )

    return check
