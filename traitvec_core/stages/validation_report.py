"""The report on disk."""

import json

from traitvec_core.report import build_report
from traitvec_core.report.page import ReportSources
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.steering_evaluation.result import read_steering
from traitvec_core.storage.manifests import ActivationsManifest, JudgedResponsesManifest
from traitvec_core.validation.checks.table import applicable_checks, evaluate_check
from traitvec_core.validation.manifests import VectorsManifest

__all__ = ["make_validation_report"]


def make_validation_report(context: StageContext) -> StageOutput:
    """Build the page and its JSON."""
    settings, folder = context.settings, context.folder
    page, report = build_report(
        ReportSources(
            experiment=folder.experiment,
            trait=folder.name,
            definition=folder.definition(),
            settings=settings,
            judged=folder.read_responses(),
            judging=folder.manifest(JudgedResponsesManifest),
            captured=folder.manifest(ActivationsManifest),
            extracted=folder.manifest(VectorsManifest),
            steering=read_steering(folder),
            checks=[
                evaluate_check(name, folder, settings)
                for name in applicable_checks(settings, folder)
            ],
        )
    )
    metadata = report.model_dump(mode="json")
    recommended = json.dumps(metadata["recommended"], indent=2) + "\n"
    return {
        "validation/report.html": page.encode("utf-8", "replace"),
        "validation/recommended.json": recommended.encode(),
    }, metadata
