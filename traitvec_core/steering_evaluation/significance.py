"""Does a dose steer? Its effect against the best of as many random directions as were searched."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from traitvec_core.steering_evaluation.intervals import difference_of_means, questions_moved
from traitvec_core.validation.steering import SteeringTest

__all__ = ["compare_with_random"]

_SIGNIFICANCE = 0.05


def compare_with_random(
    chosen: pd.DataFrame,
    random: Sequence[pd.DataFrame],
    unsteered: pd.DataFrame,
    *,
    n_trials: int,
    is_coherent: bool,
    significance: float = _SIGNIFICANCE,
) -> SteeringTest:
    """Test whether the chosen dose moves the trait further than searched random directions would.

    The n random directions give a prediction interval for one more: R̄ + t · s · √(1 + 1/n), with
    n − 1 degrees of freedom. The dose is the best of m trials, so t is the quantile of
    1 − significance/m (Bonferroni): the bound is what the best of m random directions would reach.

    Args:
        chosen: Judged held-out responses under the chosen dose.
        random: Those under each random direction of the same added norm, at the same layer.
        unsteered: Those without steering.
        n_trials: Trials of the search that the dose was chosen from, m.
        is_coherent: Whether the chosen dose is coherent enough.
        significance: Largest chance of calling a random direction steering.
    """
    effect = difference_of_means(chosen, unsteered, "trait_score")
    moved = questions_moved(chosen, unsteered, "trait_score")
    effects = [difference_of_means(table, unsteered, "trait_score") for table in random]
    effects = [each for each in effects if not math.isnan(each.value)]
    test = SteeringTest(
        effect=effect.estimate,
        n_random=len(effects),
        n_trials=n_trials,
        wrong_way=float((moved < 0).mean()) if len(moved) else None,
        n_questions=len(moved),
        is_coherent=is_coherent,
    )
    if test.effect.value is None:
        return test.model_copy(update={"untested": "the held-out responses have no scores"})
    if len(effects) < 2:
        why = f"{len(effects)} random directions have scores, so their spread is unknown"
        return test.model_copy(update={"untested": why})
    values = np.array([each.value for each in effects])
    errors = np.array([each.standard_error for each in effects])
    # The spread of the values holds their sampling error already; a spread below it is luck.
    errors = errors[~np.isnan(errors)]
    least = float(np.sqrt((errors**2).mean())) if len(errors) else 0.0
    mean, spread = float(values.mean()), max(float(values.std(ddof=1)), least)
    figures = {"random_mean": mean, "random_sd": spread, "random_best": float(values.max())}
    if spread == 0:
        why = "all random directions have the same effect, so their spread cannot be estimated"
        return test.model_copy(update={**figures, "untested": why})
    from scipy.special import stdtr

    n = len(effects)
    beyond = (test.effect.value - mean) / (spread * math.sqrt(1 + 1 / n))
    p_value = min(1.0, n_trials * float(stdtr(n - 1, -beyond)))
    return test.model_copy(update={**figures, "p_value": p_value}).at(significance)
