"""Other explanations: baselines against scikit-learn, shares against theory, real judgements."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression

from tests.judging.test_real_judgements import published, real
from traitvec_core.settings.response_filter import ResponseFilter
from traitvec_core.validation.checks.confounds import check_confounds
from traitvec_core.validation.elicitation import keep_mask, question_of
from traitvec_core.validation.explanations import (
    Explanations,
    classify_by_number,
    classify_by_words,
    measure_explanations,
)
from traitvec_core.validation.held_out import HeldOut, Split, hold_out, score_draws, split_groups

N = 80
IS_POSITIVE = np.arange(N) < N // 2
QUESTIONS = np.arange(N) % 10


def explain(
    values: Any, responses: list[str] | None = None, n_tokens: Any = None, **given: Any
) -> Explanations:
    """Explain `mean_diff` at row 1 of activations whose row 0 is noise."""
    rng = np.random.default_rng(9)
    rows = np.stack([rng.standard_normal(np.shape(values)), values], axis=1)
    activations = torch.from_numpy(rows)
    held_out = hold_out(activations, IS_POSITIVE, QUESTIONS, layers=[1], methods=["mean_diff"])
    found = measure_explanations(
        activations,
        held_out,
        method="mean_diff",
        layer=1,
        responses=responses or ["the same words"] * N,
        n_tokens=[3] * N if n_tokens is None else n_tokens,
        **given,
    )
    assert found is not None
    return found


def separated(gap: float = 10.0, d: int = 30) -> Any:
    """Poles apart along one direction that is spread over all dimensions."""
    rng = np.random.default_rng(0)
    direction = rng.choice([-1, 1], d) / np.sqrt(d)
    return rng.standard_normal((N, d)) + np.where(IS_POSITIVE, gap, -gap)[:, None] / 2 * direction


# -- baselines ------------------------------------------------------------------------------------


def test_the_threshold_is_the_best_of_all_on_the_training_split() -> None:
    rng = np.random.default_rng(0)
    for sign in (1, -1):
        values = np.round(sign * np.where(IS_POSITIVE, 2, 0) + 2 * rng.standard_normal(N))
        # Uneven poles, so that balanced accuracy is another thing than accuracy.
        rows = np.r_[np.arange(12), np.arange(40, 80)]
        split = split_groups(IS_POSITIVE[rows], QUESTIONS[rows])
        margins = classify_by_number(values[rows], split)
        for mask in split.folds:
            own, truth = values[rows][~mask], split.is_positive[~mask]

            def quality(calls: Any, truth: Any = truth) -> float:
                return float((calls[truth].mean() + (~calls[~truth]).mean()) / 2)

            best = max(
                quality(side * (own - cut) > 0)
                for side in (1, -1)
                for cut in np.arange(own.min() - 0.5, own.max() + 1)
            )
            # One line through the margins gives threshold and side back.
            slope, offset = np.polyfit(values[rows][mask], margins[mask], 1)
            assert abs(slope) == pytest.approx(1)
            assert quality(slope * own + offset > 0) == pytest.approx(best)


def test_words_are_scikit_learns_on_each_training_split() -> None:
    rng = np.random.default_rng(0)
    words = ["yes!", "no", "maybe", "never", "I", "they", "日本", "good"]
    responses = [
        " ".join(rng.choice(words[:5] if positive else words[3:], 3)) for positive in IS_POSITIVE
    ]
    split = split_groups(IS_POSITIVE, QUESTIONS)
    margins = classify_by_words(responses, split)
    for mask in split.folds:
        training = [text for text, held in zip(responses, mask, strict=True) if not held]
        testing = [text for text, held in zip(responses, mask, strict=True) if held]
        counts = CountVectorizer(token_pattern=r"[日本]|[a-z]+|!", binary=True, min_df=2)
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        model.fit(counts.fit_transform(training), IS_POSITIVE[~mask])
        expected = model.decision_function(counts.transform(testing))
        np.testing.assert_allclose(margins[mask], expected, atol=1e-2)
    assert score_draws(margins, split)["auroc"][0] > 0.9


@pytest.mark.parametrize("responses", [[""] * N, [f"word{i}" for i in range(N)]])
def test_responses_without_a_common_word_tell_nothing(responses: list[str]) -> None:
    split = split_groups(IS_POSITIVE, QUESTIONS)
    draws = score_draws(classify_by_words(responses, split), split)
    assert draws["balanced_accuracy"][0] == draws["auroc"][0] == 0.5


def test_a_number_that_is_the_same_for_all_tells_nothing() -> None:
    split = split_groups(IS_POSITIVE, QUESTIONS)
    draws = score_draws(classify_by_number(np.full(N, 3.0), split), split)
    assert draws["balanced_accuracy"][0] == draws["auroc"][0] == 0.5


def test_uneven_poles_do_not_flatter_a_baseline() -> None:
    rows = np.r_[np.arange(6), np.arange(40, 80)]
    values = np.random.default_rng(0).standard_normal(46)
    split = split_groups(IS_POSITIVE[rows], QUESTIONS[rows])
    draws = score_draws(classify_by_number(values, split), split)
    assert 0.2 < draws["balanced_accuracy"][0] < 0.8


def test_the_probe_is_held_against_each_on_the_same_questions() -> None:
    rng = np.random.default_rng(0)
    n_tokens = np.where(IS_POSITIVE, 60, 40) + rng.integers(-25, 25, N)
    found = explain(separated(), n_tokens=n_tokens)
    assert [baseline.name for baseline in found.baselines] == ["length", "words", "embeddings"]
    assert found.probe_accuracy.value == 1.0
    for baseline in found.baselines:
        reached, ahead = baseline.accuracy.value, baseline.probe_advantage
        assert reached is not None
        assert ahead.value == pytest.approx(1.0 - reached)
        assert ahead.low is not None
        assert 0 < ahead.low <= ahead.value
    length = found.baseline("length")
    assert length is not None
    assert 0.55 < (length.accuracy.value or 0) < 0.9
    assert found.baseline("refusal") is None


def test_refusing_is_a_baseline_where_it_is_known() -> None:
    refuses = IS_POSITIVE ^ (np.arange(N) % 20 == 0)
    found = explain(separated(), is_refusal=refuses.tolist())
    refusal = found.baseline("refusal")
    assert refusal is not None
    assert refusal.accuracy.value == pytest.approx((refuses == IS_POSITIVE).mean())
    assert [share.name for share in found.shares] == ["length", "refusal"]
    check = check_confounds(found)
    assert check.verdict == "warn"
    assert "refusing" in check.summary


def test_what_tells_the_poles_apart_at_the_embeddings_is_said() -> None:
    values = separated()
    activations = torch.from_numpy(np.stack([values, values], axis=1))
    held_out = hold_out(activations, IS_POSITIVE, QUESTIONS, layers=[1], methods=["mean_diff"])
    found = measure_explanations(
        activations, held_out, method="mean_diff", layer=1, responses=["a"] * N, n_tokens=[1] * N
    )
    check = check_confounds(found)
    assert check.verdict == "warn"
    assert "embeddings" in check.summary
    assert check.figures["embeddings_accuracy"] == 1.0


def test_embeddings_that_are_the_same_for_all_are_no_error() -> None:
    """At the last token of a prompt, every row 0 is the same."""
    activations = torch.from_numpy(np.stack([np.ones((N, 30)), separated()], axis=1))
    held_out = hold_out(activations, IS_POSITIVE, QUESTIONS, layers=[1], methods=["mean_diff"])
    found = measure_explanations(
        activations, held_out, method="mean_diff", layer=1, responses=["a"] * N, n_tokens=[1] * N
    )
    assert found is not None
    embeddings = found.baseline("embeddings")
    assert embeddings is not None
    assert embeddings.accuracy.value == embeddings.auroc.value == 0.5


def test_one_question_leaves_nothing_to_explain() -> None:
    activations = torch.from_numpy(separated()[:, None])
    held_out = hold_out(activations, IS_POSITIVE, 0 * QUESTIONS, layers=[0], methods=["mean_diff"])
    assert isinstance(held_out, HeldOut)
    found = measure_explanations(
        activations, held_out, method="mean_diff", layer=0, responses=["a"] * N, n_tokens=[1] * N
    )
    assert found is None
    assert check_confounds(found).verdict == "fail"


# -- how much of the vector -----------------------------------------------------------------------


def test_the_share_is_the_slope_within_poles_times_the_difference_between_them() -> None:
    rng = np.random.default_rng(0)
    n_tokens = np.where(IS_POSITIVE, 90, 40) * np.exp(0.4 * rng.standard_normal(N))
    length = np.log1p(n_tokens)
    values = separated(gap=4.0)
    # Along the poles' own difference, some of the distance is length.
    gap = values[IS_POSITIVE].mean(axis=0) - values[~IS_POSITIVE].mean(axis=0)
    values += 2 * (length - length.mean())[:, None] * gap / np.linalg.norm(gap)
    given = torch.from_numpy(np.stack([np.ones_like(values), values], axis=1))
    held_out = hold_out(given, IS_POSITIVE, QUESTIONS, layers=[1], methods=["mean_diff"])
    share = explain(values, n_tokens=n_tokens).shares[0]
    margins = held_out.margins["mean_diff", 1]
    fitted = LinearRegression().fit(np.column_stack([length, IS_POSITIVE]), margins)
    distance = margins[IS_POSITIVE].mean() - margins[~IS_POSITIVE].mean()
    expected = 1 - fitted.coef_[1] / distance
    assert share.share_of_separation.value == pytest.approx(expected)
    assert 0.2 < expected < 0.6
    parts = [
        (one[pole] - one[pole].mean()).tolist()
        for one in (length, margins)
        for pole in (IS_POSITIVE, ~IS_POSITIVE)
    ]
    within = np.corrcoef(parts[0] + parts[1], parts[2] + parts[3])[0, 1]
    assert share.correlation.value == pytest.approx(within)
    figure = share.share_of_separation
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < expected < figure.high


def test_length_that_never_varies_explains_nothing() -> None:
    share = explain(separated()).shares[0]
    assert share.share_of_separation.value == share.correlation.value == 0.0


# -- the largest dimensions -----------------------------------------------------------------------


def test_a_massive_dimension_is_named_and_the_trait_stays_without_it() -> None:
    values = separated(d=250)
    values[:, 17] = 900 + 40 * np.random.default_rng(1).standard_normal(N)
    largest = explain(values).largest
    assert largest.dimensions[0] == 17
    assert len(largest.dimensions) == 2
    assert largest.times_median == pytest.approx(900, rel=0.1)
    assert largest.share_of_activations > 0.99
    assert largest.share_of_vector > 0.2
    assert largest.without is not None
    assert largest.without.layer == 1
    assert (largest.without.auroc.value or 0) > 0.95


def test_a_vector_that_is_one_massive_dimension_falls_without_it() -> None:
    values = np.random.default_rng(0).standard_normal((N, 250))
    values[:, 17] = 900 + np.where(IS_POSITIVE, 60, -60)
    largest = explain(values).largest
    assert largest.share_of_vector > 0.9
    assert largest.without is not None
    assert (largest.without.auroc.value or 0) < 0.7


def test_a_vector_of_nothing_else_is_none_without_it() -> None:
    values = np.ones((N, 30))
    values[:, 4] = np.where(IS_POSITIVE, 9.0, 11.0)
    assert explain(values).largest.without is None


# -- published responses --------------------------------------------------------------------------


@published
@pytest.mark.parametrize(
    ("trait", "length", "words"), [("sycophantic", (0.9, 0.95), 0.97), ("honest", (0.5, 0.7), 0.7)]
)
def test_one_length_tells_the_published_sycophants_apart(
    trait: str, length: tuple[float, float], words: float
) -> None:
    judged = real(trait)
    kept = judged[keep_mask(judged, ResponseFilter())].reset_index(drop=True)
    split = split_groups(
        (kept["pole"] == "pos").to_numpy(), np.array([question_of(q) for q in kept["question_id"]])
    )
    n_words = kept["response"].str.split().str.len().to_numpy(float)
    by_length = balanced(classify_by_number(np.log1p(n_words), split), split)
    print(f"{trait}: length {by_length:.3f}")
    assert length[0] < by_length < length[1]
    # A third of the responses is enough to see what their words do.
    some = kept.iloc[::3]
    part = split_groups(split.is_positive[::3], split.groups[::3])
    by_words = balanced(classify_by_words(some["response"].tolist(), part), part)
    print(f"{trait}: words {by_words:.3f} of {len(some)}")
    assert by_words > words


@published
def test_the_published_sycophants_are_flagged_for_length() -> None:
    """Even beside activations that tell the poles apart without a single error."""
    judged = real("sycophantic")
    kept = judged[keep_mask(judged, ResponseFilter())]
    # Ten a question, of both poles.
    some = kept.groupby(["pole", kept["question_id"].map(question_of)]).head(5)
    is_positive = (some["pole"] == "pos").to_numpy()
    groups = np.array([question_of(name) for name in some["question_id"]])
    values = np.random.default_rng(0).standard_normal((len(some), 2, 40))
    values[:, 1, 0] += np.where(is_positive, 10, -10)
    activations = torch.from_numpy(values)
    held_out = hold_out(activations, is_positive, groups, layers=[1], methods=["mean_diff"])
    found = measure_explanations(
        activations, held_out, method="mean_diff", layer=1, responses=some["response"].tolist(),
        n_tokens=some["response"].str.split().str.len().tolist(),
    )  # fmt: skip
    assert found is not None
    assert found.probe_accuracy.value == 1.0
    check = check_confounds(found)
    print(check.summary)
    assert check.verdict == "warn"
    assert "length" in check.summary
    assert float(check.figures["length_accuracy"] or 0) > 0.9
    # These activations have nothing of it, whatever the responses are.
    assert abs(float(check.figures["length_share_of_separation"] or 0)) < 0.1


def balanced(margins: Any, split: Split) -> float:
    return float(score_draws(margins, split)["balanced_accuracy"][0])
