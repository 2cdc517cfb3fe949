"""Which pictures a report shows, by name."""

from dataclasses import dataclass

import pandas as pd

from traitvec_core.elicited_by import in_words_of
from traitvec_core.experiment import Thresholds
from traitvec_core.report import plots, plots_of_steering, plots_of_vectors
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.storage.manifests import ActivationsManifest
from traitvec_core.validation.elicitation import Elicitation, question_of
from traitvec_core.validation.evidence import VectorEvidence
from traitvec_core.validation.manifests import VectorsManifest

__all__ = ["FirstPicture", "first_picture", "of_scores", "of_vectors"]


@dataclass(frozen=True)
class FirstPicture:
    """The one picture of the first screen.

    Attributes:
        png: The picture.
        alt: What it shows.
        look: What to look for.
    """

    png: bytes
    alt: str
    look: str


def first_picture(
    judged: pd.DataFrame,
    elicitation: Elicitation,
    captured: ActivationsManifest,
    evidence: VectorEvidence | None,
    steering: SteeringEvaluation | None,
) -> FirstPicture:
    """Draw what says most: steering by dose, else held-out projections, else the judge's scores."""
    if steering is not None and steering.dose_response:
        return FirstPicture(
            plots_of_steering.dose_response(steering),
            "Trait score and coherence by coefficient",
            "Look for a trait score that rises with the coefficient, above the dash and the dots"
            " of random directions, while coherence stays level.",
        )
    if evidence is not None:
        return FirstPicture(
            plots_of_vectors.held_out_histogram(evidence.projections.margins, _poles(captured)),
            "Held-out projections by pole",
            in_words_of(
                elicitation.elicited_by,
                "Look for two peaks on either side of the threshold, in responses to questions and"
                " instructions that the vector has not seen.",
            ),
        )
    return FirstPicture(
        plots.score_distributions(judged, elicitation.response_filter.threshold),
        "Histogram of trait scores by pole",
        in_words_of(
            elicitation.elicited_by,
            "Look for two separate peaks. One peak means that the instructions do not elicit the"
            " trait.",
        ),
    )


def of_scores(judged: pd.DataFrame, elicitation: Elicitation) -> dict[str, bytes]:
    """Draw what was elicited."""
    limits = elicitation.response_filter
    drawn = {
        "scores": plots.score_distributions(judged, limits.threshold),
        "coherence": plots.score_distributions(judged, limits.min_coherence, "coherence"),
        "instructions": plots.scores_by_instruction(elicitation),
    }
    return drawn | ({"cells": plots.contrast_by_cell(elicitation)} if elicitation.by_cell else {})


def of_vectors(
    captured: ActivationsManifest,
    extracted: VectorsManifest,
    evidence: VectorEvidence | None,
    thresholds: Thresholds,
) -> dict[str, bytes]:
    """Draw how well the vectors separate the poles, and what else does."""
    separation, explanations = extracted.separation, evidence.explanations if evidence else None
    drawn = {"norms": plots.norms_by_layer(extracted.vectors, captured.mean_norm_by_layer)}
    if not separation.scores:
        return drawn
    drawn["auroc"] = plots.separation_by_layer(separation, explanations)
    drawn["effect_size"] = plots_of_vectors.effect_size_by_layer(separation, extracted.chance)
    drawn["heatmaps"] = plots_of_vectors.separation_heatmaps(separation)
    if explanations is not None:
        drawn["shares"] = plots_of_vectors.shares_of_separation(explanations, thresholds)
    if evidence is not None:
        drawn["projections"] = plots_of_vectors.held_out_projections(
            evidence.projections.margins,
            _poles(captured),
            [question_of(name) for name in captured.question_ids],
        )
    return drawn


def _poles(captured: ActivationsManifest) -> list[bool]:
    return [place < captured.n_positive for place in range(captured.n_examples)]
