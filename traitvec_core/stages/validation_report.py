"""The report on a trait: one page and its JSON."""

import json
from typing import TYPE_CHECKING

from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import content_of
from traitvec_core.stages.spec import FILTER_SETTINGS, StageSpec
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest, JudgedResponsesManifest
from traitvec_core.storage.provenance import content_hash
from traitvec_core.storage.second_elicitation import second_contents, second_trait

if TYPE_CHECKING:
    from traitvec_core.validation.recommended_vector import RecommendedVector
    from traitvec_core.validation.style_stress import StyleStress

__all__ = ["SPEC", "make_validation_report"]


def make_validation_report(context: StageContext) -> StageOutput:
    """Build the page and its JSON."""
    from traitvec_core.report.first_screen import experiments_name
    from traitvec_core.report.page import ReportSources, build_report
    from traitvec_core.steering_evaluation.result import read_steering
    from traitvec_core.validation.checks.table import applicable_checks, evaluate_check
    from traitvec_core.validation.manifests import VectorsManifest
    from traitvec_core.validation.read_second_opinion import read_second_opinion
    from traitvec_core.validation.recommended_vector import read_recommended_vector
    from traitvec_core.validation.steering import SteeringOutcome

    settings, folder = context.settings, context.folder
    extracted = folder.manifest(VectorsManifest)
    chosen = read_recommended_vector(folder, extracted)
    opinion, no_opinion = read_second_opinion(folder, settings)
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
            chosen=chosen,
            opinion=opinion,
            no_opinion=no_opinion,
            styles=_style_stress(folder, settings, chosen),
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


def _style_stress(
    folder: TraitFolder, settings: ExperimentSettings, chosen: "RecommendedVector | None"
) -> "list[StyleStress]":
    from traitvec_core.stages.vectors import read_examples
    from traitvec_core.validation.measure_vectors import method_options
    from traitvec_core.validation.style_stress import measure_style_stress

    captured = folder.manifest(ActivationsManifest)
    if chosen is None or not captured.restyled_ids:
        return []
    row_of = {name: row for row, name in enumerate(captured.question_ids)}
    return measure_style_stress(
        read_examples(folder, settings),
        [row_of[name] for name in captured.restyled_ids],
        {style: folder.read_restyled(style) for style in captured.restyled},
        *chosen.recommendation.place,
        options=method_options(settings),
    )


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
        # Side by side: what the second experiment lacks now may be there later.
        **second_contents(folder, settings),
        # Not a setting of the stage: what one trait accepts leaves the reports of others fresh.
        **({"accepted": content_hash(json.dumps(accepted, sort_keys=True))} if accepted else {}),
    }


def _elsewhere(folder: TraitFolder, settings: ExperimentSettings) -> list[str]:
    second = second_trait(folder, settings)
    return [] if second is None else [f"{second.experiment}/{second.name}"]


SPEC = StageSpec(
    name="validation_report",
    upstream=("definition", "judged_responses", "activations", "vectors", "steering_evaluation"),
    version="6",
    settings=("thresholds", "severities", "second_elicitation", *FILTER_SETTINGS),
    inputs=_inputs,
    elsewhere=_elsewhere,
    make=make_validation_report,
    place=lambda settings: "here",
)
