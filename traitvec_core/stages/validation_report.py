"""The report on disk."""

import json

from traitvec_core.report import build_report
from traitvec_core.stages.steering_evaluation import steering_of
from traitvec_core.stages.work import Result, Work
from traitvec_core.validation.verdicts import applicable_checks, evaluate

__all__ = ["make_validation_report"]


def make_validation_report(work: Work) -> Result:
    """Build the page and its JSON."""
    judged = work.folder.read_responses()
    page, report = build_report(
        experiment=work.folder.experiment,
        trait=work.folder.name,
        definition=work.folder.definition(),
        settings=work.settings,
        judged=judged,
        judging=work.folder.metadata("judged_responses"),
        captured=work.folder.metadata("activations"),
        extracted=work.folder.metadata("vectors"),
        steering=steering_of(work.folder),
        checks=[
            evaluate(name, work.folder, work.settings)
            for name in applicable_checks(work.settings, work.folder)
        ],
    )
    recommended = json.dumps(report["recommended"], indent=2) + "\n"
    return {
        "validation/report.html": page.encode("utf-8", "replace"),
        "validation/recommended.json": recommended.encode(),
    }, report
