"""Stage 1b: two scores a response, or the reason why there is none.

Names are loaded when they are first used: rubrics and names of judges are known without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traitvec_core.judging.judge import Judge, Judgement, judge_responses, load_judge
    from traitvec_core.judging.local import LocalJudge
    from traitvec_core.judging.rubrics import COHERENCE_RUBRIC, check_judge

_HOME = {
    "COHERENCE_RUBRIC": "rubrics",
    "Judge": "judge",
    "Judgement": "judge",
    "LocalJudge": "local",
    "check_judge": "rubrics",
    "judge_responses": "judge",
    "load_judge": "judge",
}

__all__ = [
    "COHERENCE_RUBRIC",
    "Judge",
    "Judgement",
    "LocalJudge",
    "check_judge",
    "judge_responses",
    "load_judge",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
