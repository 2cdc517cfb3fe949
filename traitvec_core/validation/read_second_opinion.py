"""Reads both elicitations of a trait from disk, and compares them, unless it was done before."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.storage.cache_keys import record_hashes
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest, ResponsesManifest
from traitvec_core.storage.second_elicitation import COMPARED_STAGES, second_trait
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.measure_vectors import label_examples, method_options
from traitvec_core.validation.question_topics import group_questions
from traitvec_core.validation.recommended_vector import read_recommended_vector
from traitvec_core.validation.second_opinion import SecondOpinion, compare_elicitations
from traitvec_core.validation.second_transfer import Elicited, SteeringEffect
from traitvec_core.validation.steering import SteeringOutcome
from traitvec_core.validation.stored_opinion import comparison_key, read_opinion, write_opinion

__all__ = ["read_second_opinion"]


def read_second_opinion(
    folder: TraitFolder, settings: ExperimentSettings
) -> tuple[SecondOpinion | None, str]:
    """Compare a trait's elicitation with that of the experiment `second_elicitation`.

    Args:
        folder: The trait's folder, with vectors.
        settings: The experiment's settings.

    Returns:
        The comparison, and an empty text; or None, and why there is none in one line: empty where
        the settings name no second experiment.

    Raises:
        TraitvecError: If a file of this experiment cannot be read.
    """
    if settings.second_elicitation is None:
        return None, ""
    second = second_trait(folder, settings)
    if second is None:
        return None, "no second opinion: second_elicitation names this experiment; name another one"
    key = comparison_key(folder, second, settings)
    kept = read_opinion(folder, key)
    if kept is not None:
        return kept, ""
    records = record_hashes(second, COMPARED_STAGES)
    opinion, reason = _compare(folder, second, settings)
    if record_hashes(second, COMPARED_STAGES) != records:
        # What was read may be of both.
        return None, f"no second opinion yet: {_name(second)} was made again while it was read"
    if opinion is not None and key is not None and comparison_key(folder, second, settings) == key:
        write_opinion(folder, key, opinion)
    return opinion, reason


def _compare(
    folder: TraitFolder, second: TraitFolder, settings: ExperimentSettings
) -> tuple[SecondOpinion | None, str]:
    own = _read(folder, settings)
    if own is None:
        return None, "no second opinion: no vector of this experiment can be recommended"
    where = _name(second)
    if second.provenance("vectors") is None:
        return None, f"no second opinion yet: materialize vectors of {where}"
    if (old := _outdated(second)) is not None:
        return None, f"no second opinion yet: {old} of {where} is outdated; materialize it again"
    try:
        other = _read(second, settings)
        if other is None:
            return None, f"no second opinion: no vector of {where} can be recommended"
        differs = _difference(folder, second)
    except TraitvecError as error:
        return None, f"no second opinion: {error}"
    if differs:
        return None, f"no second opinion: {where} {differs}"
    opinion = compare_elicitations(
        *_with_common_questions(own, other),
        significance=settings.thresholds.significance,
        options=method_options(settings),
    )
    return opinion, ""


def _name(folder: TraitFolder) -> str:
    return f"{folder.experiment}/{folder.name}"


def _outdated(folder: TraitFolder) -> Stage | None:
    """Return the first stage up to vectors that was not made from what is there; None if all were.

    Steering of other vectors counts as none, and does not stand in the way.
    """
    made = {stage: folder.provenance(stage) for stage in COMPARED_STAGES}
    for stage, provenance in made.items():
        if provenance is None or stage == "steering_evaluation":
            continue
        for earlier in made.keys() & provenance.inputs.keys():
            source = made[earlier]
            if source is None or source.content != provenance.inputs[earlier]:
                return stage
    return None


def _with_common_questions(*sides: tuple[Elicited, Sequence[str]]) -> list[Elicited]:
    """Number the questions of both sides alike; similar ones count as one."""
    texts = sorted({text for _, questions in sides for text in questions})
    number_of = dict(zip(texts, group_questions(texts), strict=True))
    return [
        replace(each, questions=np.array([number_of[text] for text in questions]))
        for each, questions in sides
    ]


def _read(
    folder: TraitFolder, settings: ExperimentSettings
) -> tuple[Elicited, Sequence[str]] | None:
    """Return a trait's elicitation, and the question of each example; None without a vector.

    Raises:
        TraitvecError: If a file cannot be read, or stages are of different runs.
    """
    manifest = folder.manifest(VectorsManifest)
    chosen = read_recommended_vector(folder, manifest)
    if chosen is None:
        return None
    method, layer = chosen.recommendation.place
    score = chosen.score_in(manifest.separation)
    captured, judged = folder.manifest(ActivationsManifest), folder.read_responses()
    activations = folder.read_activations()
    rows = judged.drop_duplicates("question_id").set_index("question_id")
    shape = len(captured.question_ids), captured.n_layers, captured.hidden_dim
    if activations.shape != shape or rows.index.isin(captured.question_ids).sum() != shape[0]:
        raise TraitvecError(f"results of {_name(folder)} do not fit together; run it again")
    examples = label_examples(captured, activations, judged, None, settings.sampling.seed)
    elicited = Elicited(
        experiment=folder.experiment,
        elicited_by=folder.manifest(ResponsesManifest).elicitation,
        examples=examples,
        questions=examples.split.questions,
        method=method,
        layer=layer,
        vectors={
            (row.method, row.layer): folder.read_vector(row.method, row.layer)
            for row in manifest.vectors
        },
        own_auroc=score.auroc if score else Estimate(),
        steering=_steering(folder),
    )
    return elicited, rows.loc[captured.question_ids, "question"].tolist()


def _difference(folder: TraitFolder, second: TraitFolder) -> str:
    """Return why activations of the two cannot be compared, or an empty text."""
    own, other = (each.manifest(ActivationsManifest) for each in (folder, second))
    if (own.model, own.model_revision) != (other.model, other.model_revision):
        return "was made with another model; give both experiments the same `model`"
    if (own.n_layers, own.hidden_dim) != (other.n_layers, other.hidden_dim):
        return "has activations of another shape; give both experiments the same `model`"
    if own.position != other.position:
        return f"reads {other.position} and this one {own.position}; give both the same `positions`"
    return ""


def _steering(folder: TraitFolder) -> SteeringEffect:
    name = folder.experiment
    made, vectors = folder.provenance("steering_evaluation"), folder.provenance("vectors")
    if made is None or vectors is None or made.inputs.get("vectors") != vectors.content:
        return SteeringEffect(experiment=name, dose="not evaluated with these vectors")
    outcome = folder.manifest(SteeringOutcome)
    if outcome.test is None or outcome.tested is None:
        why = outcome.skipped or "no dose was tested"
        return SteeringEffect(experiment=name, dose=why)
    dose = outcome.tested
    return SteeringEffect(
        experiment=name,
        effect=outcome.test.effect,
        steers=None if outcome.test.untested else outcome.test.steers,
        dose=f"{dose.method} at layer {dose.layer}, coefficient {dose.coefficient:g}",
    )
