"""How well the prompt's last token predicts the response's score.

Persona vectors (Chen et al. 2025, arXiv:2507.21509) report this correlation. Much of it can come
from the conditions, since a system prompt raises both, so it is also computed within conditions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

__all__ = ["Correlation", "ScorePrediction", "predict_scores"]


class Correlation(BaseModel):
    """Pearson's correlation of projection and score.

    Attributes:
        r: The coefficient; None with fewer than three points, or if one side is constant.
        n: Number of points.
    """

    r: float | None
    n: int


class ScorePrediction(BaseModel):
    """The correlation over all responses, across conditions, and within them.

    Attributes:
        overall: Over all responses.
        across: Over the means of the conditions, one point each.
        inside: Over all responses, after subtracting the mean of their condition. Conditions of
            a single response are left out.
        by_condition: Within each condition.
        missing: Number of responses without a score or a projection, which are left out.
    """

    overall: Correlation
    across: Correlation
    inside: Correlation
    by_condition: dict[str, Correlation]
    missing: int


def predict_scores(
    projections: Sequence[float | None],
    scores: Sequence[float | None],
    conditions: Sequence[str],
) -> ScorePrediction:
    """Correlate projections of the prompt's last token with the scores of the responses.

    Args:
        projections: One for each response (`ResponseSummary.prompt_last`); None or NaN is missing.
        scores: Trait score of each response; None or NaN is missing.
        conditions: Condition of each response: its instruction, or the name of its system prompt.
    """
    x = np.array([np.nan if value is None else value for value in projections], dtype=np.float64)
    y = np.array([np.nan if value is None else value for value in scores], dtype=np.float64)
    names = np.array(conditions, dtype=object)
    is_known = np.isfinite(x) & np.isfinite(y)
    x, y, names = x[is_known], y[is_known], names[is_known]
    masks = {name: names == name for name in dict.fromkeys(names.tolist())}
    means = np.array([[x[mask].mean(), y[mask].mean()] for mask in masks.values()]).reshape(-1, 2)
    larger = [mask for mask in masks.values() if mask.sum() > 1]
    parts = [(x[mask] - x[mask].mean(), y[mask] - y[mask].mean()) for mask in larger]
    nothing = np.zeros(0)
    return ScorePrediction(
        overall=_correlation(x, y),
        across=_correlation(means[:, 0], means[:, 1]),
        inside=_correlation(
            np.concatenate([nothing, *(part[0] for part in parts)]),
            np.concatenate([nothing, *(part[1] for part in parts)]),
        ),
        by_condition={str(name): _correlation(x[mask], y[mask]) for name, mask in masks.items()},
        missing=int((~is_known).sum()),
    )


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> Correlation:
    # Rounding the mean of equal values can leave tiny deviations.
    is_varying = all(
        len(v) > 0 and np.abs(v - v.mean()).max() > 1e-9 * np.abs(v).max(initial=0) for v in (x, y)
    )
    r = float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and is_varying else None
    return Correlation(r=r, n=len(x))
