"""Two experiments side by side: two models, or two settings of one."""

from collections.abc import Collection
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from traitvec_core.atlas.cross_projection import CrossProjection, Read, project_across
from traitvec_core.atlas.gather import GatheredTrait, gather_trait
from traitvec_core.atlas.matrices import cosine_matrix
from traitvec_core.atlas.standings import CONTROL
from traitvec_core.atlas.values import TraitRow
from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.trust import check_trust

__all__ = [
    "Comparison",
    "Moved",
    "TraitComparison",
    "VectorMatch",
    "compare_experiments",
    "difference",
]


class Moved(BaseModel):
    """One figure in both experiments.

    Attributes:
        name: `contrast`; `best_effect_size` and `best_auroc`, held out, of the vector that
            separates best; `steered` and `steered_coherence`, with the recommended vector and
            coefficient.
        a: In the first.
        b: In the second.
        change: b − a, with an interval where both have one.
        has_moved: Whether that interval leaves out 0; None without one.
    """

    name: str
    a: Estimate
    b: Estimate
    change: Estimate
    has_moved: bool | None


class VectorMatch(BaseModel):
    """The same method and layer in both experiments, in one space."""

    method: str
    layer: int
    cosine: float


class TraitComparison(BaseModel):
    """One trait in both experiments.

    Attributes:
        trait: Its name.
        notes: What makes figures hard to compare: another definition, another judge.
        a: The first's figures.
        b: The second's.
        elicits: Whether `contrast` passes in each; None when it was not measured.
        depth_profile: Best held-out effect size at each layer above 0, as (relative depth, effect
            size), for each.
        moved: Every figure in both.
        vectors: Cosines at each one's recommended method and layer, where the spaces match.
        is_same_space: Whether they match: one model, revision and position; None without vectors.
        projection: The comparison where the spaces differ; None unless models may read.
    """

    trait: str
    notes: list[str] = Field(default_factory=list)
    a: TraitRow
    b: TraitRow
    elicits: tuple[bool | None, bool | None]
    depth_profile: tuple[list[tuple[float, float]], list[tuple[float, float]]]
    moved: list[Moved]
    vectors: list[VectorMatch] = Field(default_factory=list)
    is_same_space: bool | None = None
    projection: CrossProjection | None = None


class Comparison(BaseModel):
    """Two experiments side by side.

    Attributes:
        a: The first's name.
        b: The second's.
        models: Their models.
        settings: Differing settings that results depend on, as (first's, second's).
        only_a: Traits that only the first has.
        only_b: Traits that only the second has.
        traits: Those that both have, by name.
    """

    a: str
    b: str
    models: tuple[str, str]
    settings: dict[str, tuple[Any, Any]]
    only_a: list[str]
    only_b: list[str]
    traits: list[TraitComparison]


def compare_experiments(
    a: ExperimentFolder,
    b: ExperimentFolder,
    *,
    read: Read | None = None,
    compared_settings: Collection[str] | None = None,
) -> Comparison:
    """Compare the traits that two experiments share by name.

    Args:
        a: The first.
        b: The second.
        read: Has a model read another's responses, from `read_with`; without it, vectors of
            different spaces are not compared.
        compared_settings: Settings whose differences are listed; None lists all.

    Raises:
        TraitvecError: If they share no trait, or a model that is to read would run code that nobody
            has allowed.
    """
    names_a, names_b = a.traits(), b.traits()
    both = [name for name in names_a if name in names_b]
    if not both:
        raise TraitvecError(
            f"{a.name} and {b.name} share no trait by name: {a.name} has"
            f" {', '.join(names_a) or 'none'}, {b.name} has {', '.join(names_b) or 'none'}"
        )
    settings = a.settings(), b.settings()
    if read is not None:
        for folder, own in zip((a, b), settings, strict=True):
            check_trust(folder, own)
    return Comparison(
        a=a.name,
        b=b.name,
        models=(settings[0].model, settings[1].model),
        settings=_differing(*settings, compared_settings),
        only_a=[name for name in names_a if name not in names_b],
        only_b=[name for name in names_b if name not in names_a],
        traits=[_compare_trait(a.trait(name), b.trait(name), settings, read) for name in both],
    )


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Return b − a with its 95% interval, from the two intervals ("MOVER", Zou & Donner 2008).

    Assumes that both are independent. Experiments on the same questions are not quite: a change may
    be missed, but one that is reported is real.
    """
    if a.value is None or b.value is None:
        return Estimate()
    change = b.value - a.value
    ends_a, ends_b = a.interval, b.interval
    if ends_a is None or ends_b is None:
        return Estimate(value=change)
    return Estimate(
        value=change,
        low=change - float(np.hypot(b.value - ends_b[0], ends_a[1] - a.value)),
        high=change + float(np.hypot(ends_b[1] - b.value, a.value - ends_a[0])),
    )


def _compare_trait(
    folder_a: TraitFolder,
    folder_b: TraitFolder,
    settings: tuple[ExperimentSettings, ExperimentSettings],
    read: Read | None,
) -> TraitComparison:
    a, b = gather_trait(folder_a), gather_trait(folder_b)
    comparison = TraitComparison(
        trait=folder_a.name,
        notes=_notes(folder_a, folder_b),
        a=a.row,
        b=b.row,
        elicits=(_elicits(a.row), _elicits(b.row)),
        depth_profile=(_depth_profile(a), _depth_profile(b)),
        moved=[
            _moved("contrast", a.row.contrast, b.row.contrast),
            # Not those of the recommended vectors: a recommendation may rest on steering in one
            # experiment and on separation in the other.
            _moved("best_effect_size", a.best_effect_size, b.best_effect_size),
            _moved("best_auroc", a.best_auroc, b.best_auroc),
            _moved("steered", a.row.steered, b.row.steered),
            _moved("steered_coherence", a.row.steered_coherence, b.row.steered_coherence),
        ],
    )
    if a.space is None or b.space is None:
        return comparison
    comparison.is_same_space = a.space == b.space
    try:
        if comparison.is_same_space:
            comparison.vectors = _cosines(a, b)
        else:
            comparison.projection = read and project_across(a, b, settings, read)
    except TraitvecError as error:
        comparison.notes.append(str(error))
    return comparison


def _moved(name: str, a: Estimate, b: Estimate) -> Moved:
    change = difference(a, b)
    ends = change.interval
    has_moved = None if ends is None else not ends[0] <= 0 <= ends[1]
    return Moved(name=name, a=a, b=b, change=change, has_moved=has_moved)


def _elicits(row: TraitRow) -> bool | None:
    verdict = row.verdicts.get("contrast")
    return None if verdict is None else verdict == "pass"


def _depth_profile(trait: GatheredTrait) -> list[tuple[float, float]]:
    best: dict[int, float] = {}
    for (method, layer), score in trait.scores.items():
        if layer and method != CONTROL and np.isfinite(score.effect_size):
            best[layer] = max(best.get(layer, -np.inf), score.effect_size)
    n_blocks = trait.row.n_blocks or 1
    return [(layer / n_blocks, best[layer]) for layer in sorted(best)]


def _notes(a: TraitFolder, b: TraitFolder) -> list[str]:
    """What differed when the results were made."""
    compared: list[tuple[Stage, str, str]] = [
        ("responses", "elicitation", "the instructions or questions differ"),
        ("judged_responses", "rubric", "the rubrics differ, so contrasts are on different scales"),
        ("judged_responses", "judge", "the judges differ, so scores may mean different things"),
    ]
    notes = []
    for stage, name, note in compared:
        made = a.provenance(stage), b.provenance(stage)
        if made[0] and made[1] and made[0].inputs.get(name) != made[1].inputs.get(name):
            notes.append(note)
    return notes


def _differing(
    a: ExperimentSettings, b: ExperimentSettings, compared: Collection[str] | None
) -> dict[str, tuple[Any, Any]]:
    flat = _flat(a.model_dump(mode="json")), _flat(b.model_dump(mode="json"))
    names = sorted(set(flat[0]) | set(flat[1]))
    return {
        name: (flat[0].get(name), flat[1].get(name))
        for name in names
        if flat[0].get(name) != flat[1].get(name)
        and (compared is None or name.split(".")[0] in compared)
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _cosines(a: GatheredTrait, b: GatheredTrait) -> list[VectorMatch]:
    """Cosines at both recommended places, where both experiments have that vector."""
    matches = []
    for place in dict.fromkeys(p for p in (a.recommended, b.recommended) if p):
        if place in a.vectors and place in b.vectors:
            pair = [t.folder.read_vector(*place) for t in (a, b)]
            cosine = float(cosine_matrix(pair)[0, 1])
            matches.append(VectorMatch(method=place[0], layer=place[1], cosine=cosine))
    return matches
