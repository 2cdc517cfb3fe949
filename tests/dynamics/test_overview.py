"""What monitored responses come to, held against figures by hand."""

import re

import pytest

from traitvec_core.dynamics import MonitoredText, ResponseSummary, sum_up
from traitvec_core.report.monitor_page import build_monitor_page


def text(
    condition: str, score: float | None, last: float | None, n_tokens: int = 20, **summary: float
) -> MonitoredText:
    found = {"mean": None, "peak": None, "peak_token": None, "persistence": None,
             "final_level": None, "commitment": None, "calm": None} | summary  # fmt: skip
    return MonitoredText(
        question="Why?", condition=condition, instruction="", trait_score=score,
        coherence_score=None, judge_reason="",
        summary=ResponseSummary.model_validate(
            {"n_tokens": n_tokens, "prompt_last": last, **found}
        ),
    )  # fmt: skip


TEXTS = [
    text("none", 10, 1, mean=2, peak=4, persistence=3, commitment=0),
    text("positive", 90, 5, mean=6, peak=8, persistence=10, commitment=7),
    text("none", None, 3, mean=4, peak=6, persistence=5),
    text("none", 30, 2, n_tokens=9, mean=0, peak=2, persistence=9),
    text("positive", 84, 7, n_tokens=0),
]


def test_figures_by_hand() -> None:
    found = sum_up(TEXTS)
    assert list(found.by_condition) == ["none", "positive"]
    none = found.by_condition["none"]
    assert (none.n_texts, none.n_scored, none.mean_trait_score) == (3, 2, 20)
    assert (none.mean_prompt_last, none.mean_projection, none.mean_peak) == (2, 2, 4)
    assert none.median_persistence == 5
    # One of the two that are long enough to tell settles.
    assert (none.n_long, none.settled_share, none.median_commitment) == (2, 0.5, 0)
    assert none.mean_coherence_score is None
    positive = found.by_condition["positive"]
    assert (positive.mean_prompt_last, positive.mean_projection) == (6, 6)
    assert (positive.n_long, positive.settled_share, positive.median_commitment) == (1, 1, 7)
    assert found.whole.n_texts == 5
    assert found.whole.settled_share == pytest.approx(2 / 3)
    assert found.whole.median_commitment == 3.5
    assert found.prediction.missing == 1
    assert found.prediction.inside.n == 4
    # (-.5, -10), (.5, 10), (-1, 3), (1, -3)
    assert found.prediction.inside.r == pytest.approx(4 / (2.5 * 218) ** 0.5)


def test_nothing_comes_to_nothing() -> None:
    found = sum_up([])
    assert found.by_condition == {}
    missing = {name for name, value in found.whole if value is None}
    assert missing == set(type(found.whole).model_fields) - {"n_texts", "n_scored", "n_long"}
    assert found.prediction.overall.r is None


def test_the_page_shows_a_missing_figure_as_a_dash_and_what_it_leaves_out() -> None:
    page = build_monitor_page([], model="<m>", overview=sum_up(TEXTS))
    assert "All 5 texts" in page
    assert "The first 0 texts follow; traces.json has all." in page
    assert "Without a score or a projection: 1." in page
    assert "50% of 2" in page
    assert "&lt;m&gt;" in page
    silent = sum_up([text("none", None, None, n_tokens=0)])
    page = build_monitor_page([], model="m", overview=silent)
    assert len(re.findall(r'<td class="n"[^>]*>–</td>', page)) >= 14
    assert "All" not in build_monitor_page([], model="m")
