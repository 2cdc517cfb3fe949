"""Agreement of the judge with another judge, with people, and with itself."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.user_files import MAX_HUMAN_SCORES_BYTES, parse_table

__all__ = ["Agreement", "agreement_sample", "measure_agreement", "parse_human_scores"]

# Too few pairs for any figure.
_MIN_PAIRS = 3
_RESAMPLES = 1000
# Scores per chunk of resamples: 10,000 responses must not take a gigabyte.
_PART = 1_000_000
_Statistic = Callable[[Any, Any, int], Any]


class Agreement(BaseModel):
    """Agreement of two sets of scores for the same responses.

    Attributes:
        with_: What the judge is compared with.
        n: Responses with both scores.
        missing: Responses of the sample without one of the two.
        pearson: Linear correlation.
        spearman: Rank correlation.
        mean_absolute_difference: In points, 0–100.
        same_side: Share on the same side of the threshold for kept responses.
    """

    with_: str
    n: int
    missing: int
    pearson: Estimate
    spearman: Estimate
    mean_absolute_difference: Estimate
    same_side: Estimate


def agreement_sample(judged: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return the rows to score a second time: equally many of each pole, chosen by a fixed hash.

    Args:
        judged: Judged responses; rows without a trait score are not chosen.
        size: Number of rows.
    """
    scored = judged[judged["trait_score"].notna()]
    order = scored["question_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    scored = scored.assign(_order=order).sort_values("_order", kind="stable")
    parts = [
        scored[scored["pole"] == pole].head(size // 2 + (pole == "pos" and size % 2))
        for pole in ("pos", "neg")
    ]
    return pd.concat(parts).drop(columns="_order")


def measure_agreement(
    first: Sequence[float], second: Sequence[float], threshold: float, with_: str
) -> Agreement:
    """Compare two sets of scores; a pair with a missing score (NaN) is dropped.

    Intervals are percentiles of 1,000 seeded bootstrap resamples of the responses (Efron 1979).

    Args:
        first: The judge's scores.
        second: The other scores of the same responses.
        threshold: Score that separates positive from negative responses.
        with_: The source of `second`.
    """
    pairs = np.array([first, second], dtype=np.float64).reshape(2, -1)
    x, y = pairs[:, ~np.isnan(pairs).any(0)]
    # Sorted, so that the resamples do not depend on the order of the table.
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    figures = {
        name: _estimate(statistic, x, y)
        for name, statistic in (
            ("pearson", _pearson),
            ("spearman", _spearman),
            ("mean_absolute_difference", lambda a, b, axis: np.abs(a - b).mean(axis)),
            ("same_side", lambda a, b, axis: ((a >= threshold) == (b >= threshold)).mean(axis)),
        )
    }
    return Agreement(with_=with_, n=len(x), missing=pairs.shape[1] - len(x), **figures)


def parse_human_scores(data: bytes, where: str, known: set[str]) -> dict[str, float]:
    """Read a table of human scores: `question_id`, `trait_score`; rows of one id are averaged.

    Args:
        data: The CSV's bytes.
        where: The file's name in messages.
        known: The question_ids of the responses.

    Returns:
        question_id → score; rows without a score are left out.

    Raises:
        TraitvecError: If the table is invalid; the message names the line and the fix.
    """
    columns, rows = parse_table(data, where, MAX_HUMAN_SCORES_BYTES)
    missing = {"question_id", "trait_score"} - set(columns)
    if missing:
        raise TraitvecError(
            f"{where}: missing column {', '.join(sorted(missing))}; it needs question_id and"
            " trait_score (0–100, or empty)"
        )
    scores: dict[str, list[float]] = {}
    for row in rows:
        name, text = row.cells["question_id"], row.cells["trait_score"].strip()
        if not text:
            continue
        place = f"{where}, line {row.line}"
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not 0 <= score <= 100:
            raise TraitvecError(f"{place}: {text[:40]!r} is not a score from 0 to 100")
        if name not in known:
            raise TraitvecError(
                f"{place}: no response has the question_id {name[:80]!r}; take the ids from"
                " responses/pos.csv and neg.csv"
            )
        scores.setdefault(name, []).append(score)
    return {name: sum(values) / len(values) for name, values in scores.items()}


def _estimate(statistic: _Statistic, x: Any, y: Any) -> Estimate:
    if len(x) < _MIN_PAIRS:
        return Estimate()
    value = float(statistic(x, y, -1))
    random = np.random.default_rng(0)
    at_once = max(1, min(_RESAMPLES, _PART // len(x)))
    parts = []
    for begin in range(0, _RESAMPLES, at_once):
        size = (min(at_once, _RESAMPLES - begin), len(x))
        chosen = random.integers(0, len(x), size)
        parts.append(statistic(x[chosen], y[chosen], -1))
    resampled = np.concatenate(parts)
    # The correlation of constant scores is undefined.
    defined = resampled[np.isfinite(resampled)]
    if not math.isfinite(value) or not len(defined):
        return Estimate()
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value=round(value, 4), low=round(float(low), 4), high=round(float(high), 4))


def _pearson(x: Any, y: Any, axis: int) -> Any:
    # Rounding can give equal scores a tiny variance.
    varies = (np.ptp(x, axis) > 0) & (np.ptp(y, axis) > 0)
    x, y = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (x * y).sum(axis) / np.sqrt((x * x).sum(axis) * (y * y).sum(axis))
    return np.where(varies, correlation, np.nan)


def _spearman(x: Any, y: Any, axis: int) -> Any:
    from scipy.stats import rankdata

    return _pearson(rankdata(x, axis=axis), rankdata(y, axis=axis), axis)
