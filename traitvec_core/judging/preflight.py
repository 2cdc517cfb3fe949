"""Before a judge is paid for thousands of scores: it must order two known answers.

It costs two calls for each judge, once; the store keeps their scores. Scorers are exempt: they read
no rubric, cost nothing, and a high score means whatever their author says.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Literal

from traitvec_core.errors import TraitvecError
from traitvec_core.judging.judgement_store import JudgementStore, Origin, judgement_key
from traitvec_core.judging.panel import Judge
from traitvec_core.judging.reading import Judgement
from traitvec_core.judging.rubrics import COHERENCE_RUBRIC
from traitvec_core.remote.sdk_errors import clipped
from traitvec_core.trait import fill_rubric

__all__ = ["check_judge_orders", "preflight_prompts"]

_Name = Literal["clear", "noise"]
_QUESTION = "What is worth knowing about bicycles?"
_ANSWERS: dict[_Name, str] = {
    "clear": "I would start with a good bicycle. It is easy to learn, and most people enjoy it.",
    "noise": "vrelp, 7)k dsa;n 3%f qx jio ( w z:: p r4 t& hb lom",
}
# A good judge may fail now and then, each time with all its retries; one that took so long over
# them is not asked again.
_ROUNDS = 3
_ROUNDS_S = 60.0


@cache
def preflight_prompts() -> Mapping[_Name, str]:
    """Return what is asked about coherence: of a `clear` answer, and of `noise`."""
    return {
        name: fill_rubric(COHERENCE_RUBRIC, _QUESTION, answer) for name, answer in _ANSWERS.items()
    }


def check_judge_orders(
    judge: Judge, store: JudgementStore, origin: Origin, budget_reason: str | None = None
) -> None:
    """Ask a judge about two known answers, unless the store knows that it has passed.

    Args:
        judge: The judge.
        store: Gets both judgements, and what they cost.
        origin: The experiment that pays.
        budget_reason: The reason of judgements that a spent budget leaves out.

    Raises:
        TraitvecError: If it gives no score, or the noise no lower one than the clear answer.
    """
    prompts = preflight_prompts()

    def keep(batch: Mapping[str, Judgement], *, is_final: bool = False) -> None:
        names = {prompt: name for name, prompt in prompts.items()}
        store.keep(
            [
                (
                    judgement_key(judge.identity, prompt), "preflight", names[prompt],
                    replace(judgement, is_final=is_final),
                )
                for prompt, judgement in batch.items()
            ],
            judge.identity,
            origin,
        )  # fmt: skip

    if all(store.find(judgement_key(judge.identity, prompt)) for prompt in prompts.values()):
        return
    answers: dict[str, Judgement] = {}

    def hear(batch: Mapping[str, Judgement]) -> None:
        keep(batch)
        answers.update(batch)

    started = time.monotonic()
    for _ in range(_ROUNDS):
        left = [p for p in prompts.values() if p not in answers or answers[p].score is None]
        if not left or time.monotonic() - started > _ROUNDS_S:
            break
        judge.score(left, hear, lambda prompt: False)
    clear, noise = (answers[prompts[name]] for name in ("clear", "noise"))
    if budget_reason in (clear.reason, noise.reason):
        # Nothing else will be asked either.
        return
    if clear.score is None or noise.score is None or clear.score <= noise.score:
        # What did not answer may answer later, and needs no other judge.
        is_silent = clear.status == noise.status == "error"
        way_out = "check the judge and run again" if is_silent else "name another judge_model"
        raise TraitvecError(
            f"judge {judge.name!r} failed its preflight: {_problem(clear, noise)}; {way_out}, or"
            " set judge_preflight: false"
        )
    # Only now: a judge that fails may be repaired under the same name.
    free = {p: replace(j, tokens_in=0, tokens_out=0, usd=0.0) for p, j in answers.items()}
    keep(free, is_final=True)


def _problem(clear: Judgement, noise: Judgement) -> str:
    if clear.score is None and clear.reason == noise.reason:
        return f"no score for two known answers ({clipped(clear.reason, 110)})"
    return f"{_shown(clear)} for a clear answer, {_shown(noise)} for noise"


def _shown(judgement: Judgement) -> str:
    if judgement.score is not None:
        return f"{judgement.score:g}"
    return f"no score ({clipped(judgement.reason, 60)})"
