"""How well the prompt's last token foretells the response's score.

Persona vectors (Chen et al. 2025, arXiv:2507.21509) report such a correlation. Much of it can come
from the conditions (a system prompt raises both), so it is given inside them too.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

__all__ = ["Correlation", "ScorePrediction", "predict_scores"]


class Correlation(BaseModel):
    """Pearson's correlation of projection and score.

    Attributes:
        r: None with fewer than three points, or when one side does not vary.
        n: Points.
    """

    r: float | None
    n: int


class ScorePrediction(BaseModel):
    """The correlation over everything, across conditions, and inside them.

    Attributes:
        overall: Over all responses.
        across: Over the conditions' means, a point each.
        inside: Over all responses, after the mean of its condition is taken from each; conditions
            of one response say nothing here and are left out.
        by_condition: Inside each condition alone.
        missing: Responses without a score or without a projection, which are in none of these.
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
        scores: Trait score of each response; likewise.
        conditions: What each was asked under: its instruction, or the name of the system prompt.
    """
    x = np.array([np.nan if value is None else value for value in projections], dtype=np.float64)
    y = np.array([np.nan if value is None else value for value in scores], dtype=np.float64)
    names = np.array(conditions, dtype=object)
    is_there = np.isfinite(x) & np.isfinite(y)
    x, y, names = x[is_there], y[is_there], names[is_there]
    of = {name: names == name for name in dict.fromkeys(names.tolist())}
    means = np.array([[x[mask].mean(), y[mask].mean()] for mask in of.values()]).reshape(-1, 2)
    several = [mask for mask in of.values() if mask.sum() > 1]
    parts = [(x[mask] - x[mask].mean(), y[mask] - y[mask].mean()) for mask in several]
    nothing = np.zeros(0)
    return ScorePrediction(
        overall=_correlation(x, y),
        across=_correlation(means[:, 0], means[:, 1]),
        inside=_correlation(
            np.concatenate([nothing, *(part[0] for part in parts)]),
            np.concatenate([nothing, *(part[1] for part in parts)]),
        ),
        by_condition={str(name): _correlation(x[mask], y[mask]) for name, mask in of.items()},
        missing=int((~is_there).sum()),
    )


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> Correlation:
    # Equal values leave a trace of a deviation when their mean is rounded.
    varies = all(
        len(v) > 0 and np.abs(v - v.mean()).max() > 1e-9 * np.abs(v).max(initial=0) for v in (x, y)
    )
    r = float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and varies else None
    return Correlation(r=r, n=len(x))
