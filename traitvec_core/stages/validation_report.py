"""The report on a trait: one page and its JSON."""

import json

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import content_of
from traitvec_core.stages.spec import FILTER_SETTINGS, StageSpec
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest, JudgedResponsesManifest
from traitvec_core.storage.provenance import content_hash

__all__ = ["SPEC", "make_validation_report"]


def make_validation_report(context: StageContext) -> StageOutput:
    """Build the page and its JSON."""
    from traitvec_core.report.first_screen import experiments_name
    from traitvec_core.report.page import ReportSources, build_report
    from traitvec_core.steering_evaluation.result import read_steering
    from traitvec_core.validation.checks.table import applicable_checks, evaluate_check
    from traitvec_core.validation.manifests import VectorsManifest
    from traitvec_core.validation.recommended_vector import read_recommended_vector
    from traitvec_core.validation.steering import SteeringOutcome

    settings, folder = context.settings, context.folder
    extracted = folder.manifest(VectorsManifest)
    page, report = build_report(
        ReportSources(
            experiment=folder.experiment,
            trait=folder.name,
            definition=folder.definition(),
            settings=settings,
            judged=folder.read_responses(),
            judging=folder.manifest(JudgedResponsesManifest),
            captured=folder.manifest(ActivationsManifest),
            extracted=extracted,
            chosen=read_recommended_vector(folder, extracted),
            steering=read_steering(folder),
            root=experiments_name(folder),
            steering_skipped=folder.manifest(SteeringOutcome).skipped,
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


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    earlier = content_of(
        folder, "judged_responses", "activations", "vectors", "steering_evaluation"
    )
    definition, accepted = folder.definition(), dict(settings.accepted_of(folder.name))
    # The page opens with the description, and `confounds` counts what the trait is about.
    return {
        **earlier,
        "description": content_hash(definition.description),
        "about": content_hash("\n".join(definition.about)),
        # Not a setting of the stage: what one trait accepts leaves the reports of others fresh.
        **({"accepted": content_hash(json.dumps(accepted, sort_keys=True))} if accepted else {}),
    }


SPEC = StageSpec(
    name="validation_report",
    upstream=("definition", "judged_responses", "activations", "vectors", "steering_evaluation"),
    version="6",
    settings=("thresholds", "severities", *FILTER_SETTINGS),
    inputs=_inputs,
    make=make_validation_report,
    place=lambda settings: "here",
)
