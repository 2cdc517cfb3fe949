"""Trials: ask questions steered, instructed or neither, and score the answers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from traitvec_core.experiment import Sampling
from traitvec_core.generation import generate_texts
from traitvec_core.generation.request import Generated
from traitvec_core.judging.judge import Judge, JudgedResponses, judge_responses
from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.steering import Intervention, steer
from traitvec_core.steering_evaluation.intervals import mean_score, moved_by
from traitvec_core.steering_evaluation.result import Answer, Scores
from traitvec_core.storage.provenance import Cost
from traitvec_core.trait import TraitDefinition

__all__ = ["Condition", "TrialLog", "TrialSetup", "Trials", "summarise"]

_N_EXAMPLES = 3


@dataclass(frozen=True)
class Condition:
    """How a question is asked: steered, instructed or neither.

    Attributes:
        name: Distinct among all conditions of a trait; names the rows on disk.
        intervention: What changes the residual stream, if anything.
        instructions: Used in turn, if any.
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


@dataclass(frozen=True)
class TrialSetup:
    """What asks, what scores, and how: the same for every condition of a trait.

    Attributes:
        model: The model, loaded in this process; conditions steer it.
        judge: What scores.
        definition: The trait: its rubric, instructions and questions.
        sampling: Temperature, top-p, length and seed.
        store: Known judgements; new ones are added as they are made.
        origin: Experiment and trait, for the store.
        is_about_refusing: Whether REFUSAL is the highest score; see `judge_responses`.
        instruction_role: Where instructions go in the chat template.
        batch_size: Rows generated at once; None chooses a number.
    """

    model: LanguageModel
    judge: Judge
    definition: TraitDefinition
    sampling: Sampling
    store: JudgementStore = field(default_factory=JudgementStore)
    origin: Origin = field(default_factory=Origin)
    is_about_refusing: bool = False
    instruction_role: str = "auto"
    batch_size: int | None = None


@dataclass(frozen=True)
class TrialLog:
    """Rows of an interrupted run, and where new ones go.

    Attributes:
        finished: Rows that an earlier, interrupted run generated.
        append: Called with rows (`id`, `response`, …) as they are generated.
    """

    finished: Iterable[Mapping[str, Any]] = ()
    append: Callable[[list[dict[str, Any]]], None] = lambda rows: None


@dataclass
class Trials:
    """Generates responses under conditions, judges them, and adds up what they cost.

    Every condition uses the same random streams, so that differences between conditions are not
    differences of luck.

    Attributes:
        setup: What asks and what scores.
        questions: All questions; conditions are tried on some of them, by number.
        log: Rows of an interrupted run, and where new ones go.
        on_progress: Called with the number of responses so far, and a note.
        tables: Judged responses, one table per call of `run`.
        judged: Results of judging, one per call of `run`.
    """

    setup: TrialSetup
    questions: Sequence[str]
    log: TrialLog = field(default_factory=TrialLog)
    on_progress: Callable[[int, str], None] = lambda done, note: None
    tables: list[pd.DataFrame] = field(default_factory=list)
    judged: list[JudgedResponses] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows = {row["id"]: dict(row) for row in self.log.finished}
        self._n_done = 0

    def run(
        self,
        conditions: Sequence[Condition],
        numbers: Sequence[int],
        n: int,
        also: Mapping[str, TraitDefinition] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Generate responses under each condition, and judge all of them together.

        Args:
            conditions: The conditions.
            numbers: The numbers of the questions to ask.
            n: Responses for each condition, spread evenly over these questions.
            also: Other traits whose rubrics are applied to these responses too.

        Returns:
            By the condition's name: the judged responses, with `condition` and `question_number`.
        """
        table = pd.concat([self._answers(item, numbers, n) for item in conditions])
        table = table.reset_index(drop=True)
        setup = self.setup
        result = judge_responses(
            setup.judge, setup.definition, table, store=setup.store, origin=setup.origin, also=also,
            is_about_refusing=setup.is_about_refusing,
            on_progress=lambda done, total, paid: self.on_progress(
                self._n_done, f"judged {done} of {total}"
            ),
        )  # fmt: skip
        self.judged.append(result)
        judged = result.table.join(table[["condition", "question_number"]])
        self.tables.append(judged)
        return {item.name: judged[judged["condition"] == item.name] for item in conditions}

    @property
    def cost(self) -> Cost:
        """What all judgements cost, including those of earlier runs."""
        return sum((result.cost for result in self.judged), Cost())

    def _answers(self, condition: Condition, numbers: Sequence[int], n: int) -> pd.DataFrame:
        cells = [(numbers[k % len(numbers)], k // len(numbers)) for k in range(n)]
        setup, texts = self.setup, condition.instructions
        instructions = [texts[(q + s) % len(texts)] if texts else "" for q, s in cells]
        prompts = [
            setup.model.prompt(
                self.questions[question], instruction or None, setup.instruction_role
            )
            for (question, _), instruction in zip(cells, instructions, strict=True)
        ]
        # The same name under every condition gives the same stream of random numbers.
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
            self.log.append(rows)
            self.on_progress(self._n_done, condition.name)

        self._n_done += len(done)
        if len(done) < len(names):
            intervention = condition.intervention
            with steer(setup.model, intervention) if intervention is not None else nullcontext():
                generate_texts(
                    setup.model, names, prompts, setup.sampling, batch_size=setup.batch_size,
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


def summarise(condition: Condition, table: pd.DataFrame, unsteered: pd.DataFrame) -> Scores:
    """Summarise one condition, compared with the unsteered responses to the same questions.

    Args:
        condition: The condition.
        table: Its judged responses.
        unsteered: Those without steering.
    """
    firsts = table.drop_duplicates("question_number").head(_N_EXAMPLES)
    return Scores(
        condition=condition.name,
        method=condition.method,
        layer=condition.layer,
        coefficient=condition.coefficient,
        n=len(table),
        n_trait=int(table["trait_score"].notna().sum()),
        n_coherence=int(table["coherence_score"].notna().sum()),
        trait=mean_score(table, "trait_score"),
        coherence=mean_score(table, "coherence_score"),
        trait_moved=moved_by(table, unsteered, "trait_score"),
        coherence_moved=moved_by(table, unsteered, "coherence_score"),
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


def _or_none(score: float) -> float | None:
    return None if math.isnan(score) else float(score)
