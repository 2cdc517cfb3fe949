"""Score responses with a judge; a failed judgement is missing with its reason, never a zero."""

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pandas as pd

from traitvec_core.judging.rubrics import COHERENCE_RUBRIC, check_judge
from traitvec_core.language_model import LanguageModel
from traitvec_core.trait import TraitDefinition, fill_rubric

__all__ = ["JUDGED_COLUMNS", "Judge", "Judgement", "judge_responses", "load_judge"]

Status = Literal["ok", "refusal", "unparseable", "error"]
JUDGED_COLUMNS = (
    "question", "instruction", "prompt", "response", "trait_score", "coherence_score",
    "question_id", "judge_model", "judge_status", "coherence_status",
    "prompt_tokens", "response_tokens", "finish_reason", "pole",
)  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    """One score, or the reason why there is none.

    Attributes:
        score: 0–100, or None.
        status: `ok` exactly when there is a score.
        tokens_in: Tokens that the judge read.
    """

    score: float | None
    status: Status
    tokens_in: int = 0


class Judge(Protocol):
    """Anything that scores prompts."""

    name: str

    def score(
        self,
        prompts: Sequence[str],
        on_batch: Callable[[Mapping[str, Judgement]], None],
        known: Collection[str] = (),
    ) -> None:
        """Judge distinct prompts.

        Args:
            prompts: What to judge.
            on_batch: Gets every finished batch of prompt → judgement.
            known: Prompts judged before. They are named too, so that a judge whose batches touch
                its results in the last digit can make those of an undisturbed run.
        """
        ...


def judge_responses(
    judge: Judge,
    definition: TraitDefinition,
    responses: pd.DataFrame,
    *,
    finished: Iterable[dict[str, Any]] = (),
    on_batch: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> pd.DataFrame:
    """Score every response on the trait's rubric and on coherence.

    Args:
        judge: The judge.
        definition: The trait, for its rubric.
        responses: A table as `generate_responses` returns it.
        finished: Judgements of an earlier, interrupted call, as given to `on_batch`.
        on_batch: Called with every finished batch of judgements as dictionaries of `prompt_hash`,
            `score`, `status` and `tokens_in`.

    Returns:
        The table with `JUDGED_COLUMNS`. An empty response is not judged: its scores are missing and
        its status is `error`. `attrs["judge_tokens"]` holds the tokens read.
    """
    known = {row["prompt_hash"]: row for row in finished}
    rubrics = {"trait": definition.eval_prompt, "coherence": COHERENCE_RUBRIC}
    asked: dict[str, list[str | None]] = {
        kind: [
            fill_rubric(rubric, row["question"], row["response"])
            if row["response"].strip()
            else None
            for row in responses.to_dict("records")
        ]
        for kind, rubric in rubrics.items()
    }

    def keep(batch: Mapping[str, Judgement]) -> None:
        rows = [
            {
                "prompt_hash": _prompt_hash(prompt),
                "score": judgement.score,
                "status": judgement.status,
                "tokens_in": judgement.tokens_in,
            }
            for prompt, judgement in batch.items()
        ]
        known.update({row["prompt_hash"]: row for row in rows})
        on_batch(rows)

    # Equal prompts (two identical responses to one question) are judged once.
    prompts = list(dict.fromkeys(p for column in asked.values() for p in column if p is not None))
    judge.score(prompts, keep, {prompt for prompt in prompts if _prompt_hash(prompt) in known})
    judged = responses.copy()
    for kind, score, status in (
        ("trait", "trait_score", "judge_status"),
        ("coherence", "coherence_score", "coherence_status"),
    ):
        rows = [known[_prompt_hash(p)] if p is not None else None for p in asked[kind]]
        judged[score] = [_number(row["score"]) if row else math.nan for row in rows]
        judged[status] = [row["status"] if row else "error" for row in rows]
    judged["judge_model"] = judge.name
    judged = judged[list(JUDGED_COLUMNS)]
    judged.attrs["judge_tokens"] = sum(known[_prompt_hash(p)]["tokens_in"] for p in prompts)
    return judged


def load_judge(
    name: str, model: LanguageModel | None = None, batch_size: int | None = None
) -> Judge:
    """Return the judge that a model name stands for.

    Args:
        name: `embedded`, a Hugging Face id or a local folder.
        model: A loaded model to use when it is the one that is named.
        batch_size: Prompts at once.

    Raises:
        TraitvecError: If the name is that of a model behind an API.
    """
    from traitvec_core.judging.local import LocalJudge
    from traitvec_core.language_model import load_language_model

    check_judge(name)
    if model is None or model.name != name:
        model = load_language_model(name)
    return LocalJudge(model, batch_size=batch_size)


def _prompt_hash(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
