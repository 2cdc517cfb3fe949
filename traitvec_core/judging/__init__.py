"""Stage 1b: two scores a response, or the reason why there is none."""

from traitvec_core.judging.judge import Judge, Judgement, judge_responses, load_judge
from traitvec_core.judging.local import LocalJudge
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

__all__ = [
    "COHERENCE_RUBRIC",
    "Judge",
    "Judgement",
    "LocalJudge",
    "judge_responses",
    "load_judge",
]
