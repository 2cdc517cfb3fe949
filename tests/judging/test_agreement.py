"""How far two scorings agree, against figures computed another way."""

import io
import math
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.judging.agreement import (
    Agreement,
    agreement_sample,
    measure_agreement,
    parse_human_scores,
)

FIGURES = ("pearson", "spearman", "mean_absolute_difference", "same_side")
NAN = math.nan
NONE = Estimate()


def agree(first: Sequence[float], second: Sequence[float], threshold: float = 50.0) -> Agreement:
    return measure_agreement(first, second, threshold, "people")


def figures(found: Agreement) -> dict[str, Estimate]:
    return {name: getattr(found, name) for name in FIGURES}


# -- the figures ----------------------------------------------------------------------------------

WHOLE = st.integers(0, 100).map(float)
PAIRS = st.lists(st.tuples(WHOLE, WHOLE), min_size=3, max_size=25)


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """From its definition, one number after the other."""
    n = len(x)
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    over = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    under = math.sqrt(
        math.fsum((a - mean_x) ** 2 for a in x) * math.fsum((b - mean_y) ** 2 for b in y)
    )
    return over / under if under > 1e-9 else None


def ranks(values: Sequence[float]) -> list[float]:
    """Mean rank of those that are equal: how many are less, and half of those like it."""
    return [
        sum(other < value for other in values) + (sum(o == value for o in values) + 1) / 2
        for value in values
    ]


@settings(max_examples=40)
@given(PAIRS, st.sampled_from([0.0, 37.0, 50.0, 100.0]))
@example([(0.0, 100.0), (50.0, 50.0), (100.0, 0.0)], 50.0)
def test_figures_are_those_of_their_definitions(
    pairs: list[tuple[float, float]], threshold: float
) -> None:
    x, y = [a for a, _ in pairs], [b for _, b in pairs]
    n = len(pairs)
    expected = {
        "pearson": correlation(x, y),
        "spearman": correlation(ranks(x), ranks(y)),
        "mean_absolute_difference": sum(abs(a - b) for a, b in pairs) / n,
        "same_side": sum((a >= threshold) == (b >= threshold) for a, b in pairs) / n,
    }
    found = agree(x, y, threshold)
    assert (found.n, found.missing, found.with_) == (n, 0, "people")
    for name, figure in figures(found).items():
        assert figure.value == (
            None if expected[name] is None else pytest.approx(expected[name], abs=1e-4)
        )
        if figure.value is None:
            assert figure == NONE
        else:
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.value <= figure.high
    for name, low, high in (
        ("pearson", -1, 1), ("spearman", -1, 1),
        ("mean_absolute_difference", 0, 100), ("same_side", 0, 1),
    ):  # fmt: skip
        figure = figures(found)[name]
        if figure.low is not None and figure.high is not None:
            assert low <= figure.low <= figure.high <= high


def test_scipy_says_the_same() -> None:
    from scipy.stats import pearsonr, spearmanr

    random = np.random.default_rng(5)
    x = random.integers(0, 101, 60).astype(float)
    y = np.clip(x + random.normal(0, 20, 60), 0, 100).round()
    found = agree(x.tolist(), y.tolist())
    assert found.pearson.value == pytest.approx(pearsonr(x, y).statistic, abs=1e-4)
    assert found.spearman.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-4)


def test_the_interval_is_the_one_that_theory_expects() -> None:
    """For a mean, the bootstrap's interval is about 1.96 standard errors to each side."""
    random = np.random.default_rng(7)
    x = random.uniform(0, 100, 400)
    y = random.uniform(0, 100, 400)
    figure = agree(x.tolist(), y.tolist()).mean_absolute_difference
    error = np.abs(x - y).std(ddof=1) / math.sqrt(400)
    assert figure.value is not None
    assert figure.low == pytest.approx(figure.value - 1.96 * error, abs=0.35)
    assert figure.high == pytest.approx(figure.value + 1.96 * error, abs=0.35)
    # And for a correlation, as wide as Fisher's.
    y = np.clip(0.6 * x + random.normal(0, 20, 400), 0, 100)
    figure = agree(x.tolist(), y.tolist()).pearson
    assert figure.value is not None
    z, half = math.atanh(figure.value), 1.96 / math.sqrt(397)
    assert figure.low == pytest.approx(math.tanh(z - half), abs=0.03)
    assert figure.high == pytest.approx(math.tanh(z + half), abs=0.03)


def test_agreement_with_itself_is_perfect() -> None:
    scores = [0.0, 33.3333, 50.0, 66.6667, 100.0]
    found = agree(scores, scores)
    for name in ("pearson", "spearman", "same_side"):
        assert getattr(found, name) == Estimate(value=1.0, low=1.0, high=1.0)
    assert found.mean_absolute_difference == Estimate(value=0.0, low=0.0, high=0.0)
    assert agree(scores, scores[::-1]).spearman.value == -1.0


@pytest.mark.parametrize("n", [3, 4, 7, 10, 33, 50])
@pytest.mark.parametrize("score", [0.0, 0.1, 33.3333, 66.6667, 88.8889, 100.0])
def test_scores_that_do_not_vary_have_no_correlation(n: int, score: float) -> None:
    """Not even the one that rounding would make up."""
    varied = [float(7 * i % 101) for i in range(n)]
    for x, y in (([score] * n, varied), (varied, [score] * n), ([score] * n, [score] * n)):
        found = agree(x, y)
        assert found.pearson == found.spearman == NONE
        assert found.mean_absolute_difference.value is not None
        assert found.same_side.value is not None


@pytest.mark.parametrize(
    ("first", "second", "n", "missing"),
    [
        ([], [], 0, 0),
        ([1.0], [1.0], 1, 0),
        ([1.0, 2.0], [1.0, 3.0], 2, 0),
        ([1.0, 2.0, NAN, 4.0], [1.0, NAN, NAN, 4.0], 2, 2),
        ([NAN] * 5, [NAN] * 5, 0, 5),
    ],
)
def test_two_pairs_say_nothing(
    first: list[float], second: list[float], n: int, missing: int
) -> None:
    found = agree(first, second)
    assert (found.n, found.missing) == (n, missing)
    assert all(figure == NONE for figure in figures(found).values())


MAYBE = WHOLE | st.just(NAN)


@settings(max_examples=25)
@given(st.lists(st.tuples(MAYBE, MAYBE), max_size=20), st.randoms(use_true_random=False))
def test_what_one_of_them_did_not_score_is_left_out(
    pairs: list[tuple[float, float]], random: Any
) -> None:
    complete = [(a, b) for a, b in pairs if not (math.isnan(a) or math.isnan(b))]
    found = agree([a for a, _ in pairs], [b for _, b in pairs])
    alone = agree([a for a, _ in complete], [b for _, b in complete])
    assert found.n == alone.n == len(complete)
    assert found.missing == len(pairs) - len(complete)
    assert figures(found) == figures(alone)
    # Nor does anything depend on the order of rows: the intervals neither.
    moved = list(pairs)
    random.shuffle(moved)
    assert agree([a for a, _ in moved], [b for _, b in moved]) == found


def test_figures_survive_being_written() -> None:
    found = agree([1.0, 2.0, 90.0, NAN], [5.0, 5.0, 80.0, 1.0])
    assert Agreement.model_validate_json(found.model_dump_json()) == found


def test_many_responses_do_not_fill_the_memory() -> None:
    x = np.arange(12_000) % 101.0
    tracemalloc.start()
    try:
        found = agree(x.tolist(), (x[::-1]).tolist())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.n == 12_000
    # At once, the 1,000 resamples would be 96 MB each time that they are touched.
    assert peak < 150 * 2**20


# -- the sample -----------------------------------------------------------------------------------


def judged(n_pos: int, n_neg: int, missing: Sequence[str] = ()) -> pd.DataFrame:
    ids = [f"kind_{i}_pos" for i in range(n_pos)] + [f"kind_{i}_neg" for i in range(n_neg)]
    return pd.DataFrame(
        {
            "question_id": ids,
            "pole": [name[-3:] for name in ids],
            "trait_score": [NAN if name in missing else 50.0 for name in ids],
        }
    ).astype({"question_id": object, "pole": object, "trait_score": "float64"})


@settings(max_examples=40)
@given(
    st.integers(0, 15), st.integers(0, 15), st.integers(3, 40), st.integers(0, 2**32 - 1), st.data()
)
def test_a_sample_is_balanced_and_the_same_every_time(
    n_pos: int, n_neg: int, size: int, seed: int, data: st.DataObject
) -> None:
    whole = judged(n_pos, n_neg)
    missing = data.draw(st.sets(st.sampled_from(whole["question_id"].tolist() or ["none"])))
    whole = judged(n_pos, n_neg, sorted(missing))
    chosen = agreement_sample(whole, size)
    ids = chosen["question_id"].tolist()
    assert len(set(ids)) == len(ids) <= size
    assert not set(ids) & missing
    assert list(chosen.columns) == list(whole.columns)
    there = whole[whole["trait_score"].notna()]["pole"].value_counts()
    taken = chosen["pole"].value_counts()
    assert taken.get("pos", 0) == min(there.get("pos", 0), (size + 1) // 2)
    assert taken.get("neg", 0) == min(there.get("neg", 0), size // 2)
    moved = whole.iloc[np.random.default_rng(seed).permutation(len(whole))]
    assert agreement_sample(moved, size)["question_id"].tolist() == ids
    # A larger sample holds the smaller one: what was scored again is not scored again.
    assert set(ids) <= set(agreement_sample(whole, size + 4)["question_id"])


def test_a_sample_is_spread_over_the_table() -> None:
    ids = agreement_sample(judged(200, 200), 50)["question_id"]
    numbers = ids.str.extract(r"_(\d+)_")[0].astype(int)
    assert 60 < numbers.mean() < 140
    assert numbers.max() - numbers.min() > 150


# -- people's scores ------------------------------------------------------------------------------

KNOWN = {"kind_0_pos", "kind_1_pos", "kind_2, \"the\" odd\none"}  # fmt: skip


def parse(text: str | bytes) -> dict[str, float]:
    data = text.encode() if isinstance(text, str) else text
    return parse_human_scores(data, "demo/kind/human_scores.csv", KNOWN)


def refused(text: str | bytes) -> str:
    with pytest.raises(TraitvecError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("demo/kind/human_scores.csv")
    assert len(message.splitlines()) == 1
    return message


@given(
    st.dictionaries(
        st.sampled_from(sorted(KNOWN)),
        st.lists(st.floats(0, 100), min_size=1, max_size=3),
        min_size=1,
    ),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_scores_of_people_are_read_and_averaged(
    scores: dict[str, list[float]], has_bom: bool, end: str
) -> None:
    rows = [
        {"who": "ann", "question_id": name, "trait_score": score}
        for name, values in scores.items()
        for score in values
    ]
    text = io.StringIO()
    pd.DataFrame(rows).to_csv(text, index=False, lineterminator=end)
    found = parse(("\ufeff" if has_bom else "") + text.getvalue())
    assert found.keys() == scores.keys()
    for name, values in scores.items():
        assert found[name] == pytest.approx(sum(values) / len(values))


def test_rows_without_a_score_are_left_out() -> None:
    text = (
        "question_id,trait_score,note\nkind_0_pos,,later\nnobody,,\nkind_1_pos, 7 ,\n\nkind_0_pos\n"
    )
    assert parse(text) == {"kind_1_pos": 7.0}
    assert parse("question_id,trait_score\n") == {}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "question_id, trait_score"),
        ("\n", "question_id, trait_score"),
        ("question_id,score\nkind_0_pos,1\n", "trait_score"),
        ("Question_id,trait_score\nkind_0_pos,1\n", "question_id"),
        ("question_id;trait_score\nkind_0_pos;1\n", "question_id, trait_score"),
    ],
)
def test_a_missing_column_is_named(text: str, missing: str) -> None:
    message = refused(text)
    assert f"missing column {missing};" in message
    assert "question_id and trait_score" in message


@pytest.mark.parametrize("score", ["101", "-1", "high", "nan", "inf", "8,5", "85%", "x" * 1000])
def test_what_is_no_score_is_named_with_its_line(score: str) -> None:
    text = f'question_id,trait_score\nkind_0_pos,1\n\nkind_1_pos,"{score}"\n'
    message = refused(text)
    assert message.startswith("demo/kind/human_scores.csv, line 4: ")
    assert "is not a score from 0 to 100" in message
    assert len(message) < 200


def test_a_line_is_counted_as_an_editor_does() -> None:
    text = 'question_id,trait_score\n"kind_2, ""the"" odd\none",50\nkind_0_pos,1000\n'
    assert "line 4: '1000'" in refused(text)


def test_a_response_that_nobody_knows_is_named_with_its_line() -> None:
    message = refused("question_id,trait_score\nkind_0_pos,1\nkind_9_pos,2\n")
    assert "line 3: no response has the question_id 'kind_9_pos'" in message
    assert "responses/pos.csv" in message
    assert len(refused("question_id,trait_score\n" + "x" * 10_000 + ",1\n")) < 300


@pytest.mark.parametrize(
    "data",
    [
        "question_id,trait_score\nkind_0_pos,1\n".encode("utf-16"),
        b"question_id,trait_score\nkind_0_pos\xff,1\n",
        b"\x89PNG\r\n\x1a\n\x00\x00",
    ],
)
def test_what_is_no_table_is_told(data: bytes) -> None:
    assert "is not UTF-8" in refused(data)
