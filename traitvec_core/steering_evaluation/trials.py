"""Trials: ask questions under a condition (steered, instructed, neither) and score the answers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.generation.request import Generated
from traitvec_core.judging.judge import Judge, JudgedResponses, judge_responses
from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.steering import Intervention, steer
from traitvec_core.steering_evaluation.result import Answer, Interval, Scores
from traitvec_core.storage.provenance import Cost
from traitvec_core.trait import TraitDefinition

__all__ = ["Condition", "Trials", "interval_of", "moved_by", "summarise"]

_N_RESAMPLES = 1_000
_N_EXAMPLES = 3


@dataclass(frozen=True)
class Condition:
    """Under what a question is asked.

    Attributes:
        name: Distinct among all conditions of a trait; names the rows on disk.
        intervention: What is done to the residual stream, if anything.
        instructions: Given in turn, if any.
        method: For `Scores`.
        layer: For `Scores`.
        coefficient: For `Scores`.
    """

    name: str
    intervention: Intervention | None = None
    instructions: tuple[str, ...] = ()
    method: str | None = None
    layer: int | None = None
    coefficient: float = 0.0


@dataclass
class Trials:
    """Generates and judges; remembers what it cost.

    Every condition answers with the same random streams, so that differences between conditions
    are not differences of luck.

    Attributes:
        model: What is steered.
        judge: What scores.
        definition: The trait, for its rubric.
        questions: All questions; conditions are tried on some of them, by number.
        sampling: Temperature, top-p, length and seed.
        store: Judgements that are known.
        origin: What asks, for the store.
        is_about_refusing: See `judge_responses`.
        instruction_role: Where instructions go.
        batch_size: Rows at once; None finds a number.
        finished: Rows of an earlier, interrupted call.
        on_finished: Called with rows as they are generated.
        on_progress: Called with the responses that are there so far, and a note.
        tables: Everything that was judged.
        judged: What judging came to, call by call.
    """

    model: LanguageModel
    judge: Judge
    definition: TraitDefinition
    questions: Sequence[str]
    sampling: Sampling
    store: JudgementStore
    origin: Origin = field(default_factory=Origin)
    is_about_refusing: bool = False
    instruction_role: str = "auto"
    batch_size: int | None = None
    finished: Iterable[Mapping[str, Any]] = ()
    on_finished: Callable[[list[dict[str, Any]]], None] = lambda rows: None
    on_progress: Callable[[int, str], None] = lambda done, note: None
    tables: list[pd.DataFrame] = field(default_factory=list)
    judged: list[JudgedResponses] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows = {row["id"]: dict(row) for row in self.finished}
        self._n_done = 0

    def run(
        self,
        conditions: Sequence[Condition],
        numbers: Sequence[int],
        n: int,
        also: Mapping[str, TraitDefinition] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Answer under each condition and judge all answers together.

        Args:
            conditions: The conditions.
            numbers: Which of the questions.
            n: Responses for each condition, spread evenly over these questions.
            also: Other traits, whose rubrics are put to these responses too.

        Returns:
            By the condition's name: the judged responses, with `condition` and `question_number`.
        """
        table = pd.concat([self._answers(item, numbers, n) for item in conditions])
        table = table.reset_index(drop=True)
        result = judge_responses(
            self.judge, self.definition, table, store=self.store, origin=self.origin, also=also,
            is_about_refusing=self.is_about_refusing,
            on_progress=lambda done, total, paid: self.on_progress(
                self._n_done, f"judged {done} of {total}"
            ),
        )  # fmt: skip
        self.judged.append(result)
        whole = result.table.join(table[["condition", "question_number"]])
        self.tables.append(whole)
        return {item.name: whole[whole["condition"] == item.name] for item in conditions}

    @property
    def cost(self) -> Cost:
        """What all judgements cost, whenever paid."""
        return sum((result.cost for result in self.judged), Cost())

    def _answers(self, condition: Condition, numbers: Sequence[int], n: int) -> pd.DataFrame:
        cells = [(numbers[k % len(numbers)], k // len(numbers)) for k in range(n)]
        given = condition.instructions
        instructions = [given[(q + s) % len(given)] if given else "" for q, s in cells]
        prompts = [
            self.model.prompt(self.questions[question], instruction or None, self.instruction_role)
            for (question, _), instruction in zip(cells, instructions, strict=True)
        ]
        # The same name under every condition, and so the same stream of random numbers.
        names = [f"{question}_{sample}" for question, sample in cells]
        ids = {name: f"{condition.name}|{name}" for name in names}
        done = {name for name in names if ids[name] in self._rows}

        def keep(texts: list[Generated]) -> None:
            rows = [
                {
                    "id": ids[text.name],
                    "response": text.response,
                    "prompt_tokens": text.prompt_tokens,
                    "response_tokens": text.response_tokens,
                    "finish_reason": text.finish_reason,
                }
                for text in texts
            ]
            self._rows.update({row["id"]: row for row in rows})
            self._n_done += len(rows)
            self.on_finished(rows)
            self.on_progress(self._n_done, condition.name)

        self._n_done += len(done)
        if len(done) < len(names):
            what = condition.intervention
            with steer(self.model, what) if what is not None else nullcontext():
                generate_texts(
                    self.model, names, prompts, self.sampling, batch_size=self.batch_size,
                    skip=done, on_finished=keep,
                )  # fmt: skip
        else:
            self.on_progress(self._n_done, condition.name)
        return pd.DataFrame(
            {
                "question": [self.questions[question] for question, _ in cells],
                "instruction": instructions,
                "prompt": prompts,
                "question_id": [ids[name] for name in names],
                "condition": condition.name,
                "question_number": [question for question, _ in cells],
                "pole": "",
                **{
                    column: [self._rows[ids[name]][column] for name in names]
                    for column in ("response", "prompt_tokens", "response_tokens", "finish_reason")
                },
            }
        )


def summarise(
    condition: Condition, table: pd.DataFrame, unsteered: pd.DataFrame, seed: int
) -> Scores:
    """Sum up one condition beside the unsteered responses to the same questions.

    Args:
        condition: The condition.
        table: Its judged responses.
        unsteered: Those without steering.
        seed: For the bootstrap.
    """
    firsts = table.drop_duplicates("question_number").head(_N_EXAMPLES)
    return Scores(
        condition=condition.name,
        method=condition.method,
        layer=condition.layer,
        coefficient=condition.coefficient,
        n=len(table),
        trait=interval_of(table, "trait_score", seed),
        coherence=interval_of(table, "coherence_score", seed),
        trait_moved=moved_by(table, unsteered, "trait_score", seed),
        coherence_moved=moved_by(table, unsteered, "coherence_score", seed),
        mean_tokens=float(table["response_tokens"].mean()),
        truncated=int((table["finish_reason"] == "length").sum()),
        examples=[
            Answer(
                question=row["question"],
                response=row["response"],
                trait_score=_or_none(row["trait_score"]),
                coherence_score=_or_none(row["coherence_score"]),
            )
            for row in firsts.to_dict("records")
        ],
    )


def interval_of(table: pd.DataFrame, column: str, seed: int) -> Interval | None:
    """Mean of a score with its interval; None when no response has one."""
    questions = np.unique(table["question_number"])
    means = _bootstrapped(table, column, questions, seed)
    return _interval(means, int(table[column].notna().sum()))


def moved_by(
    table: pd.DataFrame, unsteered: pd.DataFrame, column: str, seed: int
) -> Interval | None:
    """Mean of a score over that without steering; the same questions are drawn for both."""
    questions = np.unique(table["question_number"])
    means = [_bootstrapped(part, column, questions, seed) for part in (table, unsteered)]
    return _interval(means[0] - means[1], int(table[column].notna().sum()))


def _bootstrapped(
    table: pd.DataFrame, column: str, questions: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """`[1 + n_resamples]`: the mean over all questions, then over resampled ones; NaN without."""
    grouped = table.groupby("question_number")[column]
    sums = grouped.sum().reindex(questions, fill_value=0.0).to_numpy(float)
    counts = grouped.count().reindex(questions, fill_value=0).to_numpy(float)
    n = len(questions)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_N_RESAMPLES)
    drawn = np.vstack([np.ones(n), drawn])
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = (drawn @ sums) / (drawn @ counts)
    return means


def _interval(means: NDArray[np.float64], n: int) -> Interval | None:
    if math.isnan(means[0]):
        return None
    low, high = np.nanpercentile(means[1:], [2.5, 97.5])
    return Interval(mean=float(means[0]), low=float(low), high=float(high), n=n)


def _or_none(score: float) -> float | None:
    return None if math.isnan(score) else float(score)
