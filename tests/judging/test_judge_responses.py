"""From responses to a judged table, with scripted judges."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traitvec_core.judging import Judgement, JudgementStore, judge_responses
from traitvec_core.judging.judge import JUDGED_COLUMNS, score_prompts
from traitvec_core.judging.judgement_store import Origin, judgement_key
from traitvec_core.judging.reading import ANSWERED_REFUSAL
from traitvec_core.storage.provenance import Cost
from traitvec_core.trait import InstructionPair, TraitDefinition


def definition(what: str = "kind") -> TraitDefinition:
    return TraitDefinition(
        instruction=[InstructionPair(pos="Be.", neg="Do not be.")],
        questions=["Why?"],
        eval_prompt=f"How {what}? {{question}} [ANSWER START]{{answer}}[ANSWER END]",
    )


def responses(texts: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "question": "Why?",
            "instruction": "Be.",
            "prompt": "…",
            "response": list(texts),
            "question_id": [f"kind_{i}" for i in range(len(texts))],
            "prompt_tokens": 5,
            "response_tokens": 5,
            "finish_reason": "stop",
            "pole": ["pos" if i % 2 else "neg" for i in range(len(texts))],
        }
    )


def scored(prompt: str) -> Judgement:
    """Another score for another prompt, whenever it is asked for."""
    return Judgement(float(int(judgement_key("", prompt)[:8], 16) % 101), "ok", "", 10, 2, 0.5)


class Teller:
    """Answers as a function says, one by one, and remembers what it was asked."""

    name = "teller"

    def __init__(self, answer: Callable[[str], Judgement] = scored, identity: str = "teller"):
        self.answer = answer
        self.identity = json.dumps({"model": identity})
        self.asked: list[str] = []

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        is_known: Callable[[str], bool] = lambda prompt: False,
        repeat: int = 0,
    ) -> None:
        for prompt in prompts:
            if not is_known(prompt):
                self.asked.append(prompt)
                on_batch({prompt: self.answer(prompt)})


def in_trait_rubric(answer: Judgement, what: str = "kind") -> Callable[[str], Judgement]:
    return lambda prompt: answer if f"How {what}?" in prompt else scored(prompt)


TEXTS = ["Yes.", "No.", "Perhaps.", "Yes."]

# -- the store ------------------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_ends_with_the_same(tmp_path: Path) -> None:
    first, second = Teller(), Teller()
    table = responses(TEXTS)
    with JudgementStore(tmp_path / "store") as store:
        whole = judge_responses(first, definition(), table, store=store)
    with JudgementStore(tmp_path / "store") as store:
        again = judge_responses(second, definition(), table, store=store)
    assert len(first.asked) == len(set(first.asked)) == 2 * 3
    assert second.asked == []
    pd.testing.assert_frame_equal(again.table, whole.table, check_exact=True)
    assert whole.cost == whole.paid == again.cost == Cost(tokens_in=60, tokens_out=12, usd=3.0)
    assert again.paid == Cost()
    assert (whole.n_asked, again.n_asked) == (6, 0)


def test_what_is_new_is_asked_and_nothing_else() -> None:
    store = JudgementStore()
    judge_responses(Teller(), definition(), responses(TEXTS), store=store)
    changed = Teller()
    judge_responses(changed, definition("cold"), responses(TEXTS), store=store)
    assert len(changed.asked) == 3, "coherence is judged by a rubric that did not change"
    assert all("How cold?" in prompt for prompt in changed.asked)
    longer = Teller()
    judge_responses(longer, definition(), responses([*TEXTS, "Never."]), store=store)
    assert len(longer.asked) == 2
    assert all("Never." in prompt for prompt in longer.asked)
    other = Teller(identity="another")
    judge_responses(other, definition(), responses(TEXTS), store=store)
    assert len(other.asked) == 6


def test_a_run_that_was_cut_goes_on_where_it_was() -> None:
    store = JudgementStore()
    n_answered = 0

    def three_times(prompt: str) -> Judgement:
        nonlocal n_answered
        n_answered += 1
        if n_answered > 3:
            raise KeyboardInterrupt
        return scored(prompt)

    with pytest.raises(KeyboardInterrupt):
        judge_responses(Teller(three_times), definition(), responses(TEXTS), store=store)
    rest = Teller()
    found = judge_responses(rest, definition(), responses(TEXTS), store=store)
    assert (len(rest.asked), found.n_asked) == (3, 3)
    assert found.paid.usd == 1.5
    assert found.cost.usd == 3.0
    alone = judge_responses(Teller(), definition(), responses(TEXTS))
    pd.testing.assert_frame_equal(found.table, alone.table, check_exact=True)


def test_the_score_of_whoever_was_first_stands_in_both_tables() -> None:
    """Another run finishes the same judgement while ours is under way."""
    store = JudgementStore()
    theirs = Judgement(7.0, "ok", "", 10, 2, 0.5)
    ours = Teller(lambda prompt: Judgement(93.0, "ok", "", 10, 2, 0.5))

    def late(prompt: str) -> Judgement:
        key = judgement_key(ours.identity, prompt)
        store.keep([(key, "trait", "q", theirs)], ours.identity, Origin("other"))
        return Judgement(93.0, "ok", "", 10, 2, 0.5)

    ours.answer = late
    found = judge_responses(ours, definition(), responses(["Yes."]), store=store)
    assert found.table["trait_score"].tolist() == [7.0]
    assert found.paid.usd == 1.0, "ours were paid for all the same"
    assert found.cost.usd == 2.0


def test_repetitions_are_judgements_of_their_own() -> None:
    store = JudgementStore()
    judge = Teller()
    for repeat, expected in ((0, 1), (1, 1), (1, 0), (0, 0), (2, 1)):
        _, _, n_asked = score_prompts(judge, {"p": ("trait", "q")}, store=store, repeat=repeat)
        assert n_asked == expected


# -- refusals, failures, nothing to judge ---------------------------------------------------------

REFUSED = Judgement(None, "refusal", ANSWERED_REFUSAL, 10, 2, 0.5)


def test_a_refusal_is_a_score_only_where_the_trait_is_about_refusing() -> None:
    store = JudgementStore()
    judge = Teller(in_trait_rubric(REFUSED))
    for is_about, score, status, reason in (
        (False, None, "refusal", ANSWERED_REFUSAL),
        (True, 100.0, "ok", ""),
        (False, None, "refusal", ANSWERED_REFUSAL),
    ):
        table = judge_responses(
            judge, definition(), responses(["No."]), store=store, is_about_refusing=is_about
        ).table
        found = None if math.isnan(table["trait_score"][0]) else table["trait_score"][0]
        assert (found, table["judge_status"][0], table["judge_reason"][0]) == (
            score, status, reason,
        )  # fmt: skip
        assert table["coherence_status"][0] == "ok"
    assert len(judge.asked) == 2, "how it is read is not part of what is kept"


def test_a_judge_that_will_not_judge_gives_no_score_whatever_the_trait() -> None:
    for reason in ("the judge refused: I cannot rate this", "content filter"):
        judge = Teller(in_trait_rubric(replace(REFUSED, reason=reason)))
        table = judge_responses(
            judge, definition(), responses(["No."]), is_about_refusing=True
        ).table
        assert math.isnan(table["trait_score"][0])
        assert (table["judge_status"][0], table["judge_reason"][0]) == ("refusal", reason)


def test_a_refusal_to_rate_coherence_is_no_coherence() -> None:
    judge = Teller(lambda prompt: REFUSED)
    table = judge_responses(judge, definition(), responses(["No."]), is_about_refusing=True).table
    assert table["trait_score"].tolist() == [100.0]
    assert math.isnan(table["coherence_score"][0])


@pytest.mark.parametrize("status", ["refusal", "unparseable", "error"])
def test_what_failed_is_missing_with_its_reason_and_never_zero(status: str) -> None:
    failed = Judgement(None, status, "for a reason", 1, 1, 0.0)  # type: ignore[arg-type]
    found = judge_responses(Teller(in_trait_rubric(failed)), definition(), responses(TEXTS))
    assert found.unfinished == {}, "asking again would be of no use"
    table = found.table
    assert table["trait_score"].isna().all()
    assert set(table["judge_status"]) == {status}
    assert set(table["judge_reason"]) == {"for a reason"}
    assert table["coherence_score"].notna().all()
    assert set(table["coherence_reason"]) == {""}


def test_a_score_of_zero_is_a_score() -> None:
    judge = Teller(lambda prompt: Judgement(0.0, "ok"))
    table = judge_responses(judge, definition(), responses(["No."])).table
    assert table["trait_score"].tolist() == [0.0]


def test_what_another_run_may_mend_is_counted_by_reason_and_asked_again() -> None:
    store = JudgementStore()
    busy = Judgement(None, "error", "busy (429)", 0, 0, 0.25, is_final=False)
    flaky = Teller(in_trait_rubric(busy))
    found = judge_responses(flaky, definition(), responses(TEXTS), store=store)
    assert found.unfinished == {"busy (429)": 3}, "by judgement: two responses are the same"
    assert found.table["trait_score"].isna().all()
    repaired = Teller()
    found = judge_responses(repaired, definition(), responses(TEXTS), store=store)
    assert len(repaired.asked) == found.n_asked == 3
    assert found.unfinished == {}
    assert found.table["trait_score"].notna().all()
    assert found.paid.usd == 1.5
    assert found.cost.usd == 3 * 0.5 + 3 * 0.5 + 3 * 0.25


def test_an_empty_response_is_not_judged() -> None:
    judge = Teller()
    found = judge_responses(judge, definition(), responses(["", " \n\t", "Yes."]))
    assert len(judge.asked) == 2
    table = found.table
    assert table["trait_score"].isna().tolist() == [True, True, False]
    assert table["judge_status"].tolist() == ["error", "error", "ok"]
    assert set(table["judge_reason"][:2]) == {"the response is empty"}
    assert found.unfinished == {}, "asking again would be of no use"
    nothing = judge_responses(judge, definition(), responses([]))
    assert tuple(nothing.table.columns) == JUDGED_COLUMNS
    assert (len(nothing.table), nothing.cost, nothing.n_asked) == (0, Cost(), 0)


# -- money, other traits, progress ----------------------------------------------------------------


def test_a_cost_with_an_unknown_part_is_unknown() -> None:
    judge = Teller(in_trait_rubric(Judgement(50.0, "ok", "", 10, 2, None)))
    found = judge_responses(judge, definition(), responses(TEXTS))
    assert found.cost == found.paid == Cost(tokens_in=60, tokens_out=12, usd=None)


def test_other_traits_are_judged_on_the_same_responses() -> None:
    store = JudgementStore()
    judge = Teller(in_trait_rubric(Judgement(None, "unparseable", "prose"), "cold"))
    found = judge_responses(
        judge, definition(), responses(TEXTS), store=store,
        also={"cold": definition("cold"), "odd": definition("odd")},
    )  # fmt: skip
    table = found.table
    assert len(judge.asked) == 4 * 3
    assert tuple(table.columns) == (
        *JUDGED_COLUMNS,
        "cold_score", "cold_status", "cold_reason", "odd_score", "odd_status", "odd_reason",
    )  # fmt: skip
    assert table["cold_score"].isna().all()
    assert set(table["cold_status"]) == {"unparseable"}
    assert set(table["cold_reason"]) == {"prose"}
    expected = judge_responses(Teller(), definition("odd"), responses(TEXTS)).table
    assert table["odd_score"].tolist() == expected["trait_score"].tolist()
    assert table["odd_score"].tolist() != table["trait_score"].tolist()
    # What a trait was asked of another's responses for, it need not ask itself.
    later = Teller()
    judge_responses(later, definition("odd"), responses(TEXTS), store=store)
    assert later.asked == []


def test_progress_tells_what_is_done_and_paid() -> None:
    store = JudgementStore()
    judge_responses(Teller(), definition(), responses(TEXTS[:1]), store=store)
    seen: list[tuple[int, int, float | None]] = []
    judge_responses(
        Teller(), definition(), responses(TEXTS), store=store,
        on_progress=lambda done, total, paid: seen.append((done, total, paid.usd)),
    )  # fmt: skip
    assert seen[-1] == (6, 6, 2.0)
    assert [usd for _, _, usd in seen] == [0.5, 1.0, 1.5, 2.0]
    assert all(before[0] < after[0] for before, after in pairwise(seen))


# -- the order of rows ----------------------------------------------------------------------------


def moody(prompt: str) -> Judgement:
    """Some prompts are scored, some refused, some fail for now: by what they say."""
    kind = int(judgement_key("mood", prompt)[:4], 16) % 4
    return (
        scored(prompt),
        REFUSED,
        Judgement(None, "unparseable", "prose", 3, 1, 0.25),
        Judgement(None, "error", "busy (429)", 1, 0, 0.0, is_final=False),
    )[kind]


@settings(max_examples=40)
@given(
    st.lists(st.text("abc \n", max_size=3), max_size=8),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_no_result_depends_on_the_order_of_rows(
    texts: list[str], is_about_refusing: bool, random: object
) -> None:
    table = responses(texts)
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = table.iloc[order]
    also = {"cold": definition("cold")}
    whole, other = (
        judge_responses(
            Teller(moody), definition(), rows, also=also, is_about_refusing=is_about_refusing
        )
        for rows in (table, moved)
    )
    pd.testing.assert_frame_equal(other.table, whole.table.iloc[order], check_exact=True)
    assert (other.cost, other.paid, other.n_asked) == (whole.cost, whole.paid, whole.n_asked)
    assert other.unfinished == whole.unfinished
    # Nor is the caller's table touched.
    pd.testing.assert_frame_equal(table, responses(texts))
