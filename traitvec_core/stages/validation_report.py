"""The report on a trait: one page and its JSON."""

import json

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import content_of
from traitvec_core.stages.spec import FILTER_SETTINGS, StageSpec
from traitvec_core.stages.steering_evaluation import steering_of
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.provenance import content_hash

__all__ = ["SPEC", "make_validation_report"]


def make_validation_report(context: StageContext) -> StageOutput:
    """Build the page and its JSON."""
    from traitvec_core.report import build_report
    from traitvec_core.validation.verdicts import applicable_checks, evaluate

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


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    earlier = content_of(
        folder, "judged_responses", "activations", "vectors", "steering_evaluation"
    )
    # The page opens with the description.
    return {**earlier, "description": content_hash(folder.definition().description)}


SPEC = StageSpec(
    name="validation_report",
    upstream=("definition", "judged_responses", "activations", "vectors", "steering_evaluation"),
    version="3",
    settings=("thresholds", "severities", *FILTER_SETTINGS),
    inputs=_inputs,
    make=make_validation_report,
    place=lambda settings: "here",
)
