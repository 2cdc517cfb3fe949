"""Coherence by a rule: loops score near 0, prose and lists near 100."""

import pytest

from traitvec_core.judging.providers.repetition import RepetitionScorer, unrepeated_share

PROSE = (
    "Photosynthesis is how plants turn light into food. Water rises from the roots, carbon dioxide"
    " enters through the leaves, and sunlight supplies the energy that joins them into sugar."
)
JAPANESE = "今日は天気がいいので散歩に行きました。"
LIST = "- Wash the rice.\n- Boil the water.\n- Add the rice and a little salt.\n- Wait ten minutes."


@pytest.mark.parametrize("text", [PROSE, LIST, "Yes.", "No, no, no!", JAPANESE])
def test_ordinary_text_has_hardly_any_repetition(text: str) -> None:
    assert unrepeated_share(text) > 0.95


@pytest.mark.parametrize(
    "text",
    [
        "the " * 60, "I am happy. " * 20, "a" * 300, "ab" * 200, "!" * 200, "好" * 100, "- \n" * 80,
        PROSE + " and then" * 120,
    ],
)  # fmt: skip
def test_loops_score_below_the_default_minimum(text: str) -> None:
    assert unrepeated_share(text) < 0.35


def test_scores_do_not_depend_on_the_other_responses() -> None:
    texts = [PROSE, "the " * 60, LIST]
    (together,) = RepetitionScorer().scores([("Why?", text) for text in texts])
    alone = [next(iter(RepetitionScorer().scores([("", text)])))[0] for text in texts]
    assert [together[n] for n in range(3)] == alone
    assert {j.status for j in alone} == {"ok"}
