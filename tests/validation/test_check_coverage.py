"""`coverage` and thinking: many responses that contain it stop the trait, few are named."""

import pandas as pd
import pytest

from traitvec_core.settings.response_filter import ResponseFilter
from traitvec_core.validation.checks.coverage import check_coverage
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.elicitation import summarise_responses


def check(leaked: dict[str, int], n_questions: int = 10, mark: str = "<think>Hm.") -> CheckResult:
    """The check of five instruction pairs; so many responses of a pole contain thinking."""
    rows = []
    for pole, score in (("pos", 90.0), ("neg", 10.0)):
        for number in range(5 * n_questions):
            question, pair = number % n_questions, number // n_questions
            marked = f" {mark}" if number < leaked.get(pole, 0) else ""
            rows.append(
                {
                    "question_id": f"kind_{question}_{pole}_{pair}_0",
                    "question": f"Question {question}?",
                    "instruction": f"Instruction {pair}.",
                    "response": f"Answer {number}.{marked}",
                    "pole": pole,
                    "trait_score": score,
                    "coherence_score": 90.0,
                    "judge_status": "ok",
                    "judge_reason": "",
                    "coherence_status": "ok",
                    "finish_reason": "stop",
                    "response_tokens": 5,
                }
            )
    return check_coverage(summarise_responses(pd.DataFrame(rows), ResponseFilter()))


@pytest.mark.parametrize("pole", ["pos", "neg"])
@pytest.mark.parametrize("mark", ["<think>Hm.", "Hm.</think>", "[THINK]", "<|channel|>analysis"])
def test_much_thinking_fails(pole: str, mark: str) -> None:
    result = check({pole: 3}, mark=mark)
    assert result.verdict == "fail"
    noun = "positives" if pole == "pos" else "negatives"
    assert result.summary == f"3 of 50 {noun} contain marks of thinking"
    assert "judge again" in result.advice
    assert result.figures["leaked_thinking"] == 3


def test_a_little_thinking_warns() -> None:
    result = check({"pos": 2, "neg": 1})
    assert result.verdict == "warn"
    assert "2 of 50 positives contain marks of thinking" in result.summary
    assert "1 of 50 negatives contain marks of thinking" in result.summary
    assert "dropped" not in result.summary


def test_no_thinking_passes() -> None:
    result = check({})
    assert result.verdict == "pass"
    assert result.figures["leaked_thinking"] == 0
