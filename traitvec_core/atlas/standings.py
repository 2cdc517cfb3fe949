"""Which methods and layers do best over all traits."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np

from traitvec_core.atlas.values import Standing
from traitvec_core.estimate import Estimate

__all__ = ["CONTROL", "Place", "Scores", "choose_layer", "layer_standings", "method_standings"]

Place = tuple[str, int]
"""A method and a layer."""

CONTROL = "random"
"""The control: the method that the others are compared with."""


class Scores(NamedTuple):
    """Held-out figures of one vector."""

    effect_size: float
    auroc: float


def method_standings(
    traits: Sequence[Mapping[Place, Scores]], recommended: Collection[Place]
) -> list[Standing]:
    """Rank methods, each at its best layer of each trait.

    Args:
        traits: For each trait, the held-out figures of its vectors. Row 0 and NaN are skipped;
            `random` is listed last, as the control.
        recommended: The place that each trait recommends.
    """
    known = _usable(traits)
    names = dict.fromkeys(method for scores in known for method, _ in scores)
    standings = [
        _standing(
            name,
            [{p: s for p, s in scores.items() if p[0] == name} for scores in known],
            _bests(known),
            sum(method == name for method, _ in recommended),
        )
        for name in names
    ]
    return sorted(
        (s for s in standings if s.n_traits), key=lambda s: (s.is_control, -(s.share.value or 0.0))
    )


def layer_standings(
    traits: Sequence[Mapping[Place, Scores]], recommended: Collection[Place]
) -> list[Standing]:
    """Rank layers, each with its best method of each trait.

    Args:
        traits: As for `method_standings`; the control is left out.
        recommended: The place that each trait recommends.
    """
    known = [
        {place: score for place, score in scores.items() if place[0] != CONTROL}
        for scores in _usable(traits)
    ]
    layers = sorted({layer for scores in known for _, layer in scores})
    standings = [
        _standing(
            str(layer),
            [{p: s for p, s in scores.items() if p[1] == layer} for scores in known],
            _bests(known),
            sum(at == layer for _, at in recommended),
        )
        for layer in layers
    ]
    return [standing for standing in standings if standing.n_traits]


def choose_layer(
    layers: Sequence[Standing], available: Mapping[str, Collection[int]]
) -> tuple[int | None, str]:
    """Choose the layer at which vectors of different traits are compared, and give the reason.

    Cosines are only meaningful within one layer. Of the layers that most traits have, it is the one
    that keeps most of each trait's best effect size; the earlier one of equals.

    Args:
        layers: From `layer_standings`.
        available: The layers of each trait's vectors.
    """
    counts: dict[int, int] = {}
    for of_trait in available.values():
        for layer in set(of_trait) - {0}:
            counts[layer] = counts.get(layer, 0) + 1
    if not counts:
        return None, "no trait has a vector"
    shares = {int(standing.name): standing.share.value or 0.0 for standing in layers}
    best = max(counts, key=lambda layer: (counts[layer], shares.get(layer, 0.0), -layer))
    if best not in shares:
        return best, "the first layer that most traits have; nothing was held out"
    return best, (
        f"of the layers that most traits have, layer {best} keeps most of each trait's best"
        f" held-out effect size: {shares[best]:.0%} on average"
    )


def _standing(
    name: str,
    of_name: Sequence[Mapping[Place, Scores]],
    bests: Sequence[float],
    n_recommended: int,
) -> Standing:
    shares, aurocs, n_best = [], [], 0
    for own, best in zip(of_name, bests, strict=True):
        # There is no share of a best effect size that is not positive.
        if not own or best <= 0:
            continue
        top = max(own.values(), key=lambda s: s.effect_size)
        shares.append(max(top.effect_size, 0.0) / best)
        aurocs.append(top.auroc)
        n_best += top.effect_size == best
    return Standing(
        name=name, share=_mean(shares), auroc=_mean(aurocs), n_traits=len(shares), n_best=n_best,
        n_recommended=n_recommended, is_control=name == CONTROL,
    )  # fmt: skip


def _usable(traits: Sequence[Mapping[Place, Scores]]) -> list[dict[Place, Scores]]:
    """All scores that are defined, without the embeddings, where only words are."""
    return [
        {
            place: score
            for place, score in scores.items()
            if place[1] and isfinite(score.effect_size) and isfinite(score.auroc)
        }
        for scores in traits
    ]


def _bests(traits: Sequence[Mapping[Place, Scores]]) -> list[float]:
    """Each trait's best effect size, the control left out."""
    return [
        max((s.effect_size for place, s in scores.items() if place[0] != CONTROL), default=0.0)
        for scores in traits
    ]


def _mean(values: Sequence[float]) -> Estimate:
    if not values:
        return Estimate()
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(value=mean)
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Estimate(value=mean, low=max(mean - half, 0.0), high=max(mean, min(mean + half, 1.0)))
