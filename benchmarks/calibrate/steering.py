"""How often directions that share nothing with a trait are called steering, without a model.

    python -m benchmarks.calibrate.steering

Every trial of the search is a direction whose effect is drawn from the same distribution as those
of the random directions. The search, the choice and the test are the library's.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from traitvec_core.estimate import Estimate
from traitvec_core.steering_evaluation.intervals import mean_score, moved_by
from traitvec_core.steering_evaluation.result import Scores, SteeringOptions
from traitvec_core.steering_evaluation.search import choose, dose_condition, search_doses
from traitvec_core.steering_evaluation.significance import compare_with_random
from traitvec_core.steering_evaluation.trials import Condition
from traitvec_core.validation.separation import Separation, SeparationScore
from traitvec_core.validation.steering import SteeringTest
from traitvec_core.vectors.extract import TraitVector

__all__ = ["VECTORS", "simulate", "simulate_test"]

# Points of the 0–100 score: between questions, between questions' reactions to one direction, and
# between responses to one question.
_SD_QUESTION, _SD_REACTION, _SD_RESPONSE = 15.0, 8.0, 20.0
_BASE = 40.0
_N_SEARCH_QUESTIONS = 20
_COLUMNS = pd.Index(["question_number", "trait_score"])

VECTORS: Sequence[TraitVector] = [
    TraitVector(
        method=method, layer=layer, vector=torch.ones(1), vector_norm=1.0, raw_norm=1.0,
        relative_norm=0.3, separation=1.0, train_accuracy=1.0,
    )
    for method in ("mean_diff", "probe", "ica", "gradient")
    for layer in range(1, 11)
]  # fmt: skip
_SEPARATION = Separation(
    scores=[
        SeparationScore(
            method=v.method, layer=v.layer, accuracy=Estimate(value=1), auroc=Estimate(value=1),
            effect_size=Estimate(value=2),
        )
        for v in VECTORS
    ],
    probe_accuracy=Estimate(value=1.0), n_folds=5, n_held_out=10,
)  # fmt: skip


def simulate(
    sd: float, n_questions: int, n_sets: int, seed: int, effect: float | None = None
) -> float:
    """Return the share of simulated traits whose chosen dose is called steering.

    Args:
        sd: Standard deviation of the directions' true effects, in points.
        n_questions: Held-out questions.
        n_sets: Simulated traits.
        seed: Decides all of them.
        effect: True effect of every searched direction; None draws them like random ones.
    """
    rng = np.random.default_rng([seed, n_questions, round(1000 * sd)])
    tests = [simulate_test(sd, n_questions, rng, effect) for _ in range(n_sets)]
    return sum(test.steers for test in tests) / n_sets


def simulate_test(
    sd: float, n_questions: int, rng: np.random.Generator, effect: float | None = None
) -> SteeringTest:
    """Search, choose and test once; see `simulate`."""
    options = SteeringOptions()
    searched = rng.normal(_BASE, _SD_QUESTION, _N_SEARCH_QUESTIONS)
    held_out = rng.normal(_BASE, _SD_QUESTION, n_questions)
    base = _responses(searched, options.n_search, 0.0, 0.0, rng)
    truths: dict[str, float] = {}

    def run(conditions: list[Condition]) -> list[Scores]:
        scores = []
        for condition in conditions:
            truth = float(rng.normal(0, sd)) if effect is None else effect
            truths[condition.name] = truth
            table = _responses(searched, options.n_search, truth, _SD_REACTION, rng)
            scores.append(_scores(condition, table, base))
        return scores

    tried = search_doses(VECTORS, _SEPARATION, run, min_coherence=options.min_coherence)
    dose = choose(tried, options.min_coherence)
    if dose is None:
        return SteeringTest(untested="nothing was chosen", n_trials=len(tried))

    def held_out_responses(truth: float, n: int, sd_reaction: float = _SD_REACTION) -> pd.DataFrame:
        return _responses(held_out, max(n, n_questions), truth, sd_reaction, rng)

    n = options.n_held_out
    return compare_with_random(
        held_out_responses(truths[dose_condition(dose).name], n),
        [held_out_responses(float(rng.normal(0, sd)), -(-n // 2)) for _ in range(options.n_random)],
        held_out_responses(0.0, n, 0.0),
        n_trials=len(tried),
        is_coherent=True,
    )


def _responses(
    questions: NDArray[np.float64],
    n: int,
    effect: float,
    sd_reaction: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Scored responses of one condition, spread evenly over the questions."""
    numbers = np.arange(n) % len(questions)
    means = questions + effect + rng.normal(0, sd_reaction, len(questions))
    scores = means[numbers] + rng.normal(0, _SD_RESPONSE, n)
    # One block of numbers makes a table in a fifth of the time of two columns.
    return pd.DataFrame(np.column_stack([numbers, scores]), columns=_COLUMNS)


def _scores(condition: Condition, table: pd.DataFrame, base: pd.DataFrame) -> Scores:
    """What the search reads of a trial; every simulated response is coherent."""
    n = len(table)
    return Scores(
        condition=condition.name, method=condition.method, layer=condition.layer,
        coefficient=condition.coefficient, n=n, n_trait=n, n_coherence=n,
        trait=mean_score(table, "trait_score"), coherence=Estimate(value=90.0),
        trait_moved=moved_by(table, base, "trait_score"), coherence_moved=Estimate(),
        mean_tokens=1.0, truncated=0, examples=[],
    )  # fmt: skip


if __name__ == "__main__":
    for sd in (0.0, 6.0, 12.0, 20.0):
        for n_questions in (5, 10, 20):
            share = simulate(sd, n_questions, 400, seed=0)
            print(f"SD {sd:g}, {n_questions} questions: {share:.3f} called steering")  # noqa: T201
    for n_questions in (5, 10, 20):
        share = simulate(6.0, n_questions, 400, seed=0, effect=48.0)
        print(f"effect 48, SD 6, {n_questions} questions: {share:.3f}")  # noqa: T201
