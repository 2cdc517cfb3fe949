"""The report on disk."""

import json

from traitvec_core.report import build_report
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.steering_evaluation import steering_of
from traitvec_core.validation.verdicts import applicable_checks, evaluate

__all__ = ["make_validation_report"]


def make_validation_report(context: StageContext) -> StageOutput:
    """Build the page and its JSON."""
    judged = context.folder.read_responses()
    page, report = build_report(
        experiment=context.folder.experiment,
        trait=context.folder.name,
        definition=context.folder.definition(),
        settings=context.settings,
        judged=judged,
        judging=context.folder.metadata("judged_responses"),
        captured=context.folder.metadata("activations"),
        extracted=context.folder.metadata("vectors"),
        steering=steering_of(context.folder),
        checks=[
            evaluate(name, context.folder, context.settings)
            for name in applicable_checks(context.settings, context.folder)
        ],
    )
    recommended = json.dumps(report["recommended"], indent=2) + "\n"
    return {
        "validation/report.html": page.encode("utf-8", "replace"),
        "validation/recommended.json": recommended.encode(),
    }, report
