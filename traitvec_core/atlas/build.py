"""The atlas of an experiment: read every trait, fill the matrices, write the page."""

import numpy as np
import torch

from traitvec_core.atlas.gather import GatheredTrait, Space, gather_trait
from traitvec_core.atlas.matrices import cluster_order, cosine_matrix, cross_separation
from traitvec_core.atlas.standings import choose_layer, layer_standings, method_standings
from traitvec_core.atlas.values import Atlas, Matrix, NearDuplicate
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.models.files import is_same_model
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.vectors.examples import Array

__all__ = ["NEAR_DUPLICATE", "build_atlas"]

# Two vectors with this cosine share 64% of their squared norm.
NEAR_DUPLICATE = 0.8


def build_atlas(folder: ExperimentFolder, settings: ExperimentSettings) -> Atlas:
    """Compare all traits of an experiment with each other.

    A trait that failed or is not finished is listed with what it has and with what is missing.
    Vectors of another model than the experiment's are in no matrix.

    Args:
        folder: The experiment.
        settings: Its settings.

    Raises:
        TraitvecError: If it has no trait.
    """
    names = folder.traits()
    if not names:
        raise TraitvecError(
            f"{display_path(folder.path)} has no trait; `traitvec new-trait --experiment"
            f" {folder.name}"
            " --trait NAME` creates one"
        )
    traits = [gather_trait(folder.trait(name)) for name in names]
    atlas = Atlas(experiment=folder.name, model=settings.model, traits=[t.row for t in traits])
    placed = _placed(traits, settings.model, atlas.left_out)
    if not placed:
        return atlas
    atlas.n_blocks = placed[0].row.n_blocks
    recommended = [t.recommended for t in placed if t.recommended]
    atlas.methods = method_standings([t.scores for t in placed], recommended)
    atlas.layers = layer_standings([t.scores for t in placed], recommended)
    placed = _fill_cosines(atlas, placed)
    _fill_cross(atlas, placed)
    _name_strongest(atlas)
    atlas.near_duplicates = _near_duplicates(atlas)
    return atlas


def _placed(
    traits: list[GatheredTrait], model: str, left_out: dict[str, str]
) -> list[GatheredTrait]:
    """The traits whose vectors are in one space; fills `left_out` with the reason of the others."""
    of_model = [
        t.space
        for t in traits
        if t.space and is_same_model(model, t.row.model or "", t.space.revision)
    ]
    # Of several (another revision, another position) the most common one.
    common = max(of_model, key=of_model.count, default=None)
    placed = []
    for trait in traits:
        if trait.space is None:
            left_out[trait.row.trait] = "; ".join(trait.row.missing) or "it has no vectors"
        elif common is None or trait.space != common:
            left_out[trait.row.trait] = (
                f"its vectors are from {_named(trait.space)}, the atlas is of"
                f" {_named(common) if common else model}; run the trait again"
            )
        else:
            placed.append(trait)
    return placed


def _named(space: Space) -> str:
    revision = f" ({space.revision})" if space.revision else ""
    return f"{space.model}{revision}, {space.n_layers} layers, {space.position}"


def _fill_cosines(atlas: Atlas, placed: list[GatheredTrait]) -> list[GatheredTrait]:
    """Fill order and cosines; returns the traits in this order."""
    # One method for all: a probe's weights differ from a difference of means even for one trait,
    # which would hide how similar two traits are.
    methods = [s.name for s in atlas.methods if not s.is_control]
    count = {m: sum(any(m == method for method, _ in t.vectors) for t in placed) for m in methods}
    ranked = sorted(methods, key=lambda m: (-count[m], m != "mean_diff", methods.index(m)))
    method = ranked[0] if ranked else placed[0].vectors[0][0]
    layers = {t.row.trait: [at for name, at in t.vectors if name == method] for t in placed}
    layer, why = choose_layer(atlas.layers, layers)
    atlas.cosine_method, atlas.cosine_layer, atlas.cosine_why = method, layer, why
    cosines = cosine_matrix([_vector(t, (method, layer)) if layer else None for t in placed])
    order = cluster_order(cosines)
    atlas.order = [placed[place].row.trait for place in order]
    atlas.cosines = _rounded(cosines[np.ix_(order, order)])
    return [placed[place] for place in order]


def _fill_cross(atlas: Atlas, placed: list[GatheredTrait]) -> None:
    """Project every trait's examples on every trait's recommended vector, one trait at a time."""
    n = len(placed)
    auroc, effect, chance = (np.full((n, n), np.nan) for _ in range(3))
    vectors = [t.recommended and _vector(t, t.recommended) for t in placed]
    rows_at: dict[int, list[int]] = {}
    for row, trait in enumerate(placed):
        if vectors[row] is not None and trait.row.layer is not None:
            rows_at.setdefault(trait.row.layer, []).append(row)
    stacked = {
        layer: torch.stack([v.double() for row in rows if (v := vectors[row]) is not None])
        for layer, rows in rows_at.items()
    }
    for column, trait in enumerate(placed):
        for layer, rows in rows_at.items():
            chance[rows, column] = trait.chance.get(layer, np.nan)
        try:
            activations = trait.folder.read_activations()
        except TraitvecError as error:
            trait.row.missing.append(str(error))
            continue
        is_positive = np.arange(len(activations)) < trait.n_positive
        for layer, rows in rows_at.items():
            projections = (activations[:, layer].double() @ stacked[layer].T).numpy()
            auroc[rows, column], effect[rows, column] = cross_separation(projections, is_positive)
    for place, trait in enumerate(placed):
        # The vector was extracted from these examples, so the diagonal holds held-out figures.
        own = trait.scores.get(trait.recommended) if trait.recommended else None
        auroc[place, place] = own.auroc if own else np.nan
        effect[place, place] = own.effect_size if own else np.nan
    atlas.cross_auroc, atlas.cross_effect, atlas.cross_chance = map(
        _rounded, (auroc, effect, chance)
    )


def _name_strongest(atlas: Atlas) -> None:
    rows = {row.trait: row for row in atlas.traits}
    for place, name in enumerate(atlas.order):
        others = [
            (abs(effect), column)
            for column, effect in enumerate(atlas.cross_effect[place])
            if effect is not None and column != place
        ]
        if others:
            _, column = max(others)
            rows[name].strongest_other = atlas.order[column]
            rows[name].strongest_other_auroc = atlas.cross_auroc[place][column]


def _near_duplicates(atlas: Atlas) -> list[NearDuplicate]:
    pairs = [
        NearDuplicate(
            one=one,
            other=other,
            cosine=cosine,
            one_on_other=atlas.cross_auroc[row][column],
            other_on_one=atlas.cross_auroc[column][row],
        )
        for row, one in enumerate(atlas.order)
        for column, other in enumerate(atlas.order)
        if column > row
        and (cosine := atlas.cosines[row][column]) is not None
        and abs(cosine) >= NEAR_DUPLICATE
    ]
    return sorted(pairs, key=lambda pair: (-abs(pair.cosine), pair.one, pair.other))


def _vector(trait: GatheredTrait, place: tuple[str, int]) -> torch.Tensor | None:
    try:
        return trait.folder.read_vector(*place)
    except TraitvecError as error:
        trait.row.missing.append(str(error))
        return None


def _rounded(matrix: Array) -> Matrix:
    return [
        [round(float(value), 4) if np.isfinite(value) else None for value in row] for row in matrix
    ]
