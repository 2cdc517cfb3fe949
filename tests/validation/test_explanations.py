"""Other explanations: baselines against scikit-learn, what they share, real judgements."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tests.judging.test_real_judgements import published, real
from traitvec_core.settings.response_filter import ResponseFilter
from traitvec_core.validation.checks.confounds import check_confounds
from traitvec_core.validation.draws import score_draws
from traitvec_core.validation.elicitation import instruction_of, keep_mask, question_of
from traitvec_core.validation.explanations import (
    Explanations,
    classify_by_number,
    classify_by_words,
    measure_explanations,
)
from traitvec_core.validation.held_out import Split, hold_out, split_examples

N = 80
IS_POSITIVE = np.arange(N) < N // 2
# Every question under every instruction pair, in both poles.
QUESTIONS, PAIRS = np.arange(N) % 10, np.arange(N) // 10 % 4
SPLIT = split_examples(IS_POSITIVE, QUESTIONS, PAIRS)


def explain(
    values: Any,
    responses: list[str] | None = None,
    n_tokens: Any = None,
    row_0: Any = None,
    opposite: Any = None,
    is_refusal: list[bool] | None = None,
) -> Explanations:
    """Explain `mean_diff` at row 1 of activations whose row 0 is noise."""
    noise = np.random.default_rng(9).standard_normal(np.shape(values))
    embedded = noise if row_0 is None else row_0
    activations = torch.from_numpy(np.stack([embedded, values], axis=1))
    again = None if opposite is None else torch.from_numpy(np.stack([embedded, opposite], axis=1))
    held_out = hold_out(activations, SPLIT, layers=[1], methods=["mean_diff"], opposite=again)
    explanations = measure_explanations(
        activations,
        held_out,
        method="mean_diff",
        layer=1,
        responses=responses or ["the same words"] * N,
        n_tokens=[3] * N if n_tokens is None else n_tokens,
        is_refusal=is_refusal,
    )
    assert explanations is not None
    return explanations


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
        rows = np.r_[np.arange(0, 40, 3), np.arange(40, 80)]
        own_values = values[rows]
        split = split_examples(IS_POSITIVE[rows], QUESTIONS[rows], PAIRS[rows])
        margins = classify_by_number(own_values, split)
        for fold in split.folds:
            own, truth = own_values[fold.training], split.is_positive[fold.training]

            def quality(calls: Any, truth: Any = truth) -> float:
                return float((calls[truth].mean() + (~calls[~truth]).mean()) / 2)

            best = max(
                quality(side * (own - cut) > 0)
                for side in (1, -1)
                for cut in np.arange(own.min() - 0.5, own.max() + 1)
            )
            at, side = own_values[fold.test], 1
            if len(np.unique(at)) > 1:
                # Margins rise, or fall, by what the number rises.
                side = 1 if np.ptp(margins[fold.test] - at) < 1e-9 else -1
                threshold = (at - side * margins[fold.test])[0]
                assert quality(side * (own - threshold) > 0) == pytest.approx(best)


def test_words_are_scikit_learns_on_each_training_split() -> None:
    rng = np.random.default_rng(0)
    words = ["yes!", "no", "maybe", "never", "I", "they", "日本", "good"]
    responses = np.array([
        " ".join(rng.choice(words[:5] if positive else words[3:], 3)) for positive in IS_POSITIVE
    ])  # fmt: skip
    margins = classify_by_words(responses.tolist(), SPLIT)
    for fold in SPLIT.folds:
        counts = CountVectorizer(token_pattern=r"[日本]|[a-z]+|!", binary=True, min_df=2)
        model = LogisticRegression(
            class_weight="balanced", solver="liblinear", tol=1e-6, max_iter=1000
        )
        model.fit(counts.fit_transform(responses[fold.training]), IS_POSITIVE[fold.training])
        expected = model.decision_function(counts.transform(responses[fold.test]))
        np.testing.assert_allclose(margins[fold.test], expected, atol=1e-2)
    assert score_draws(margins, SPLIT)["auroc"][0] > 0.9


@pytest.mark.parametrize("responses", [[""] * N, [f"word{i}" for i in range(N)]])
def test_responses_without_a_common_word_show_nothing(responses: list[str]) -> None:
    draws = score_draws(classify_by_words(responses, SPLIT), SPLIT)
    assert draws["balanced_accuracy"][0] == draws["auroc"][0] == 0.5


def test_a_number_that_is_the_same_for_all_shows_nothing() -> None:
    draws = score_draws(classify_by_number(np.full(N, 3.0), SPLIT), SPLIT)
    assert draws["balanced_accuracy"][0] == draws["auroc"][0] == 0.5


def test_uneven_poles_do_not_flatter_a_baseline() -> None:
    rows = np.r_[np.arange(0, 40, 6), np.arange(40, 80)]
    split = split_examples(IS_POSITIVE[rows], QUESTIONS[rows], PAIRS[rows])
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "b", "c", "d"], 3)) for _ in rows]
    accuracies = [
        score_draws(margins, split)["balanced_accuracy"][0]
        for _ in range(10)
        for margins in (
            classify_by_number(rng.standard_normal(len(rows)), split),
            classify_by_words(rng.permutation(texts).tolist(), split),
        )
    ]
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.1)


def test_each_baseline_has_its_figures_and_its_share() -> None:
    rng = np.random.default_rng(0)
    n_tokens = np.where(IS_POSITIVE, 60, 40) + rng.integers(-25, 25, N)
    found = explain(separated(), n_tokens=n_tokens)
    assert [baseline.name for baseline in found.baselines] == ["length", "words", "embeddings"]
    assert sorted(share.name for share in found.shares) == ["embeddings", "length", "words"]
    assert found.probe_accuracy.value == 1.0
    length = found.baseline("length")
    assert length is not None
    assert 0.55 < (length.accuracy.value or 0) < 0.9
    assert length.auroc.interval is not None
    share = found.share("length")
    assert share is not None
    # The activations know nothing of it.
    assert abs(share.share_of_separation.value or 1) < 0.1
    assert found.baseline("refusal") is found.share("instruction") is None


def test_refusing_is_a_baseline_where_it_is_known() -> None:
    refuses = IS_POSITIVE ^ (np.arange(N) % 20 == 0)
    found = explain(separated(), is_refusal=refuses.tolist())
    refusal = found.baseline("refusal")
    assert refusal is not None
    assert refusal.accuracy.value == pytest.approx((refuses == IS_POSITIVE).mean())
    assert found.share("refusal") is not None
    assert check_confounds(explain(separated(), is_refusal=IS_POSITIVE.tolist())).verdict == "warn"


def test_what_separates_at_the_embeddings_is_reported() -> None:
    values = separated(gap=3.0)
    found = explain(values, row_0=values + 0.1)
    check = check_confounds(found)
    assert check.verdict == "fail"
    assert "embeddings" in check.summary
    share = found.share("embeddings")
    assert share is not None
    assert (share.share_of_separation.value or 0) > 0.5


def test_embeddings_that_are_the_same_for_all_are_no_error() -> None:
    """At the last token of a prompt, every row 0 is the same."""
    found = explain(separated(), row_0=np.ones((N, 30)))
    embeddings, share = found.baseline("embeddings"), found.share("embeddings")
    assert embeddings is not None
    assert embeddings.accuracy.value == embeddings.auroc.value == 0.5
    assert share is not None
    assert share.share_of_separation.value == 0.0


def test_one_question_leaves_nothing_to_explain() -> None:
    activations = torch.from_numpy(separated()[:, None])
    one = split_examples(IS_POSITIVE, 0 * QUESTIONS, PAIRS)
    held_out = hold_out(activations, one, layers=[0], methods=["mean_diff"])
    found = measure_explanations(
        activations, held_out, method="mean_diff", layer=0, responses=["a"] * N, n_tokens=[1] * N
    )
    assert found is None
    assert check_confounds(found).verdict == "fail"


# -- how much of the vector -----------------------------------------------------------------------


def test_a_planted_length_is_most_of_the_separation() -> None:
    rng = np.random.default_rng(0)
    n_tokens = np.where(IS_POSITIVE, 90, 40) * np.exp(0.4 * rng.standard_normal(N))
    length = np.log1p(n_tokens)
    direction = rng.choice([-1, 1], 30) / np.sqrt(30)
    values = rng.standard_normal((N, 30)) + 6 * (length - length.mean())[:, None] * direction
    found = explain(values, n_tokens=n_tokens)
    share = found.share("length")
    assert share is not None
    assert share.share_of_separation.value == pytest.approx(1, abs=0.15)
    assert (share.correlation.value or 0) > 0.8
    check = check_confounds(found)
    assert check.verdict == "fail"
    assert "Length: read long positives" in check.advice
    assert check_confounds(found, about=["length"]).verdict == "pass"


@pytest.mark.parametrize(("follows", "expected"), [("instruction", 1.0), ("response", 0.0)])
def test_what_the_vector_follows_is_measured_by_the_second_reading(
    follows: str, expected: float
) -> None:
    values, base = separated(), separated(gap=0.0)
    # The same noise either way: what differs is where the poles are.
    opposite = 2 * base - values if follows == "instruction" else values
    found = explain(values, opposite=opposite)
    share = found.share("instruction")
    assert share is not None
    assert share.share_of_separation.value == pytest.approx(expected, abs=0.02)
    check = check_confounds(found)
    assert check.verdict == ("fail" if follows == "instruction" else "pass")
    assert ("being told to" in check.advice) == (follows == "instruction")


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


def kept_responses(trait: str) -> tuple[pd.DataFrame, Split]:
    """The published responses that pass the filter, and what is held out together."""
    judged = real(trait)
    kept = judged[keep_mask(judged, ResponseFilter())].reset_index(drop=True)
    return kept, split_of(kept)


def split_of(kept: pd.DataFrame) -> Split:
    names = kept["question_id"]
    questions, pairs = (
        np.array([number(name) for name in names]) for number in (question_of, instruction_of)
    )
    return split_examples((kept["pole"] == "pos").to_numpy(), questions, pairs)


@published
@pytest.mark.parametrize(
    ("trait", "length", "words"), [("sycophantic", (0.9, 0.95), 0.9), ("honest", (0.5, 0.7), 0.58)]
)
def test_one_length_separates_the_published_sycophants(
    trait: str, length: tuple[float, float], words: float
) -> None:
    kept, split = kept_responses(trait)
    n_words = kept["response"].str.split().str.len().to_numpy(float)
    by_length = balanced(classify_by_number(np.log1p(n_words), split), split)
    print(f"{trait}: length {by_length:.3f}")
    assert length[0] < by_length < length[1]
    # A third of the responses is enough to see what their words do.
    some = kept.iloc[::3]
    part = split_of(some)
    by_words = balanced(classify_by_words(some["response"].tolist(), part), part)
    print(f"{trait}: words {by_words:.3f} of {len(some)}")
    assert by_words > words


@published
def test_the_published_length_fails_only_where_the_vector_has_it() -> None:
    """Two vectors without a single error: one of the trait alone, one of the length alone."""
    kept, _ = kept_responses("sycophantic")
    # One per pole, question and instruction pair.
    numbers = [kept["question_id"].map(number) for number in (question_of, instruction_of)]
    some = kept.groupby(["pole", *numbers]).head(1)
    split = split_of(some)
    lengths = some["response"].str.len()
    noise = np.random.default_rng(0).standard_normal((len(some), 2, 40))
    log_length = np.log1p(lengths.to_numpy(float))
    of = {"trait": np.where(split.is_positive, 10, -10), "length": 20 * log_length}
    checks = {}
    for name, shift in of.items():
        values = noise.copy()
        values[:, 1, 0] += shift
        activations = torch.from_numpy(values)
        held_out = hold_out(activations, split, layers=[1], methods=["mean_diff"])
        found = measure_explanations(
            activations, held_out, method="mean_diff", layer=1,
            responses=some["response"].tolist(), n_tokens=lengths.tolist(),
        )  # fmt: skip
        checks[name] = check_confounds(found)
        print(checks[name].summary)
    assert float(checks["trait"].figures["length_accuracy"] or 0) > 0.85
    # These activations have nothing of it, whatever the responses are.
    assert abs(float(checks["trait"].figures["length_share"] or 0)) < 0.1
    assert float(checks["length"].figures["length_share"] or 0) > 0.9
    assert checks["length"].verdict == "fail"
    assert "Length: " not in checks["trait"].advice


def balanced(margins: Any, split: Split) -> float:
    return float(score_draws(margins, split)["balanced_accuracy"][0])
