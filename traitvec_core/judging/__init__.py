"""Stage 1b: two scores per response, or the reason why there is none.

Names are imported on first use, so that `judging.load` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traitvec_core.judging.api import ApiJudge
    from traitvec_core.judging.judge import JudgedResponses, judge_responses
    from traitvec_core.judging.judgement_store import JudgementStore
    from traitvec_core.judging.load import check_judge, check_judges_first, load_judge
    from traitvec_core.judging.panel import Judge, JudgePanel
    from traitvec_core.judging.providers.local import LocalJudge
    from traitvec_core.judging.reading import Judgement
    from traitvec_core.judging.rubrics import COHERENCE_RUBRIC

_HOME = {
    "COHERENCE_RUBRIC": "rubrics",
    "ApiJudge": "api",
    "Judge": "panel",
    "JudgePanel": "panel",
    "JudgedResponses": "judge",
    "Judgement": "reading",
    "JudgementStore": "judgement_store",
    "LocalJudge": "providers.local",
    "check_judge": "load",
    "check_judges_first": "load",
    "judge_responses": "judge",
    "load_judge": "load",
}

__all__ = [
    "COHERENCE_RUBRIC",
    "ApiJudge",
    "Judge",
    "JudgePanel",
    "JudgedResponses",
    "Judgement",
    "JudgementStore",
    "LocalJudge",
    "check_judge",
    "check_judges_first",
    "judge_responses",
    "load_judge",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
