"""The search for a dose on made-up scores."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steering_evaluation.tiny import separation_of, vector_of
from traitvec_core.estimate import Estimate
from traitvec_core.steering_evaluation.result import Scores
from traitvec_core.steering_evaluation.search import MAX_TRIALS, Dose, choose, search_doses
from traitvec_core.steering_evaluation.trials import Condition


def scores_of(trait: float | None, coherence: float | None, base: float = 30.0) -> Scores:
    def estimate(value: float | None) -> Estimate:
        return Estimate() if value is None else Estimate(value=value, low=value - 4, high=value + 4)

    return Scores(
        condition="", method=None, layer=None, coefficient=0, n=10,
        n_trait=0 if trait is None else 10, n_coherence=0 if coherence is None else 10,
        trait=estimate(trait), coherence=estimate(coherence),
        trait_moved=estimate(None if trait is None else trait - base), coherence_moved=Estimate(),
        mean_tokens=1, truncated=0, examples=[],
    )  # fmt: skip


def test_no_layer_is_tried_twice_with_one_dose() -> None:
    vectors = [vector_of(layer) for layer in range(1, 8)]
    names: list[str] = []

    def run(conditions: list[Condition]) -> list[Scores]:
        names.extend(item.name for item in conditions)
        return [scores_of(30, 90) for _ in conditions]

    search_doses(vectors, separation_of(vectors), run, min_coherence=50)
    assert len(set(names)) == len(names)


@settings(max_examples=60)
@given(
    n_layers=st.integers(1, 40),
    gain=st.floats(-30, 60),
    cost=st.floats(0, 60),
    peak=st.floats(0, 1),
    methods=st.lists(
        st.sampled_from(["mean_diff", "probe", "ica", "gradient", "pca_diff", "random"]),
        min_size=1, unique=True,
    ),
)  # fmt: skip
def test_the_search_is_short_and_never_chooses_what_is_not_coherent(
    n_layers: int, gain: float, cost: float, peak: float, methods: list[str]
) -> None:
    vectors = [vector_of(layer, method) for method in methods for layer in range(n_layers + 1)]
    asked: list[Condition] = []

    def run(conditions: list[Condition]) -> list[Scores]:
        asked.extend(conditions)
        found = []
        for item in conditions:
            assert item.layer is not None
            near = math.exp(-(((item.layer / n_layers - peak) / 0.3) ** 2))
            trait = min(97.0, max(3.0, 30 + gain * near * item.coefficient))
            found.append(scores_of(trait, max(5.0, 90 - cost * max(0, item.coefficient - 1))))
        return found

    tried = search_doses(vectors, separation_of(vectors), run, min_coherence=50)
    assert len(tried) == len(asked) <= MAX_TRIALS
    assert len({item.name for item in asked}) == len(asked)
    assert all(item.layer and item.method != "random" for item in asked)
    dose = choose(tried, 50)
    coherent = [s.trait.value or 0 for _, s in tried if s.is_coherent(50)]
    good = [trait for trait in coherent if trait > 30]
    assert (dose is None) == (not good)
    if dose is not None:
        scores = next(s for d, s in tried if d == dose)
        assert scores.is_coherent(50)
        assert (scores.trait.value or 0) >= max(good) - 3
        assert dose.coefficient > 0


def test_of_equal_scores_the_gentlest_is_chosen() -> None:
    gentle, strong = Dose(vector_of(1, length=2.0), 1.0), Dose(vector_of(2), 2.0)
    assert choose([(strong, scores_of(80, 90)), (gentle, scores_of(78, 90))], 50) == gentle
    assert choose([(strong, scores_of(80, 90)), (gentle, scores_of(70, 90))], 50) == strong
    assert choose([(strong, scores_of(80, 40)), (gentle, scores_of(70, 90))], 50) == gentle
    assert choose([(strong, scores_of(20, 90)), (gentle, scores_of(None, None))], 50) is None


def test_few_scores_are_not_coherence() -> None:
    scores = scores_of(80, 90)
    assert scores.is_coherent(50)
    scarce = scores.model_copy(update={"n_trait": 4})
    assert not scarce.is_coherent(50)
