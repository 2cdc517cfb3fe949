"""The asset checks: partitioned, so that each trait keeps its own history."""

from typing import Any

import dagster as dg

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import CheckName
from traitvec_core.judging.load import is_judge_compared
from traitvec_core.stage_names import Stage
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.resources import SettingsOverrides

__all__ = ["BLOCKING", "CHECKED_STAGE", "build_checks"]

CHECKED_STAGE: dict[CheckName, Stage] = {
    "definition": "definition",
    "contrast": "judged_responses",
    "coverage": "judged_responses",
    "agreement": "judged_responses",
    "sanity": "activations",
    "norm": "vectors",
    "accuracy": "vectors",
    "confounds": "vectors",
    "chance": "vectors",
    "stability": "vectors",
}
# Those without which the next stage has nothing to work on. A weak contrast or a low accuracy is a
# finding, and the report that explains it should still be made.
BLOCKING = frozenset({"definition", "coverage", "sanity"})
_DESCRIPTION = {
    "definition": "The definition can be used; every problem is listed.",
    "contrast": "Mean trait score, positive − negative, over all scored rows before filtering.",
    "coverage": "The filter leaves enough of both poles, of every question and instruction.",
    "agreement": "A second judge, people, and the judge itself decide as the judge did.",
    "sanity": "Activations are finite, of both poles, and of the model's shape.",
    "norm": "The recommended vector's norm lies in the experiment's range.",
    "accuracy": "A probe tells the poles apart on questions that it has not seen.",
    "confounds": "Length, words or the embeddings do not tell the poles apart as well.",
    "chance": "The vectors beat permuted labels and random directions.",
    "stability": "Other questions would give the same vector, and it is as it was.",
}


def build_checks(graph: Graph) -> list[dg.AssetChecksDefinition]:
    """Build the checks that one experiment asks for."""
    names = [name for name in CHECKED_STAGE if name != "agreement" or _is_judge_compared(graph)]
    return [_build_check(graph, name) for name in names]


def _is_judge_compared(graph: Graph) -> bool:
    try:
        settings = graph.folder.settings()
    except TraitvecError:
        # Each run says what is wrong with the file.
        return False
    return is_judge_compared(settings, map(graph.folder.trait, graph.folder.traits()))


def _build_check(graph: Graph, name: CheckName) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=graph.key(CHECKED_STAGE[name]),
        name=name,
        description=_DESCRIPTION[name],
        blocking=name in BLOCKING,
        partitions_def=graph.partitions,
    )
    def check(
        context: dg.AssetCheckExecutionContext, overrides: SettingsOverrides
    ) -> dg.AssetCheckResult:
        from traitvec_core.validation.checks import CheckResult
        from traitvec_core.validation.verdicts import evaluate

        try:
            folder = graph.trait(context.op_execution_context)
            result = evaluate(name, folder, overrides.settings_of(graph))
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
            description=result.summary,
            metadata=metadata,
        )

    return check
