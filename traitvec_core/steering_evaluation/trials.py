"""Trials: ask questions steered, instructed or neither, and score the answers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling
from traitvec_core.generation import as_engine, generate_texts
from traitvec_core.generation.request import Generated, GenerationEngine
from traitvec_core.judging.early_judging import EarlyJudging
from traitvec_core.judging.judge import Judge, JudgedResponses, judge_responses, prompts_of
from traitvec_core.judging.judgement_store import JudgementStore, Origin
from traitvec_core.models.interventions import Intervention
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.reading import Reader
from traitvec_core.steering_evaluation.intervals import mean_score, moved_by
from traitvec_core.steering_evaluation.result import Answer, Scores
from traitvec_core.steering_evaluation.time_left import TimeLeft
from traitvec_core.storage.provenance import Cost
from traitvec_core.trait import TraitDefinition

__all__ = ["Condition", "Round", "TrialLog", "TrialSetup", "Trials", "summarise"]

_N_EXAMPLES = 3


@dataclass(frozen=True)
class Condition:
    """How a question is asked: steered, instructed or neither.

    Attributes:
        name: Distinct among all conditions of a trait; names the rows on disk.
        interventions: What changes the residual stream, if anything.
        instructions: Instructions or openings, used in turn, if any.
        method: For `Scores`.
        layer: For `Scores`.
        coefficient: For `Scores`.
    """

    name: str
    interventions: tuple[Intervention, ...] = ()
    instructions: tuple[str, ...] = ()
    method: str | None = None
    layer: int | None = None
    coefficient: float = 0.0


@dataclass(frozen=True, eq=False)
class Round:
    """Conditions under which the same questions are asked, judged together.

    Attributes:
        conditions: The conditions.
        numbers: The numbers of the questions to ask.
        n: Responses for each condition, spread evenly over these questions.
        also: Other traits whose rubrics are applied to these responses too.
    """

    conditions: Sequence[Condition]
    numbers: Sequence[int]
    n: int
    also: Mapping[str, TraitDefinition] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialSetup:
    """What asks, what scores, and how: the same for every condition of a trait.

    Attributes:
        engine: Generates and steers; or a model that is loaded in this process.
        judge: What scores.
        definition: The trait: its rubric, instructions and questions.
        sampling: Temperature, top-p, length and seed.
        store: Known judgements; new ones are added as they are made.
        origin: Experiment and trait, for the store.
        is_about_refusing: Whether REFUSAL is the highest score; see `judge_responses`.
        elicited_by: What the conditions' instructions are; openings for `scenarios`.
        instruction_role: Where instructions go in the chat template.
        batch_size: Rows generated at once; None chooses a number.
    """

    engine: GenerationEngine | LanguageModel
    judge: Judge
    definition: TraitDefinition
    sampling: Sampling
    store: JudgementStore = field(default_factory=JudgementStore)
    origin: Origin = field(default_factory=Origin)
    is_about_refusing: bool = False
    elicited_by: ElicitedBy = "instructions"
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
        time_left: Counts what the time is spent on.
        tables: Judged responses, one table per round.
        judged: Results of judging, one per round.
    """

    setup: TrialSetup
    questions: Sequence[str]
    log: TrialLog = field(default_factory=TrialLog)
    on_progress: Callable[[int, str], None] = lambda done, note: None
    time_left: TimeLeft = field(default_factory=lambda: TimeLeft(0))
    tables: list[pd.DataFrame] = field(default_factory=list)
    judged: list[JudgedResponses] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._engine = as_engine(self.setup.engine, self.setup.batch_size)
        self._rows = {row["id"]: dict(row) for row in self.log.finished}
        self._n_done = 0
        self._earlier = set(self._rows)
        self._paid_early = Cost()

    def run(self, *rounds: Round) -> dict[str, pd.DataFrame]:
        """Generate responses under all conditions side by side, and judge each round.

        Args:
            rounds: What is asked under which conditions; no condition is in two rounds of a call.

        Returns:
            By the condition's name: the judged responses, with `condition` and `question_number`.
        """
        rows = [row for asked in rounds for row in self._plan(asked)]
        self._generate(rows)
        judged: dict[str, pd.DataFrame] = {}
        for asked in rounds:
            judged |= self._judge(asked, self._table([row for row in rows if row.round is asked]))
        return judged

    @property
    def reader(self) -> Reader:
        """Reads the model that is steered.

        Raises:
            TraitvecError: If the engine only returns texts.
        """
        if self._engine.reader is None:
            raise TraitvecError(f"engine: {self._engine.name} cannot steer; it only returns texts")
        return self._engine.reader

    @property
    def cost(self) -> Cost:
        """What all judgements cost, including those of earlier runs."""
        return sum((result.cost for result in self.judged), Cost())

    @property
    def paid(self) -> Cost:
        """What the judgements of this run cost."""
        return sum((result.paid for result in self.judged), self._paid_early)

    def _plan(self, asked: Round) -> list["_Row"]:
        """Return the rows of a round, condition by condition."""
        numbers, setup = asked.numbers, self.setup
        cells = [(numbers[k % len(numbers)], k // len(numbers)) for k in range(asked.n)]
        rows = []
        for condition in asked.conditions:
            texts = condition.instructions
            for number, sample in cells:
                instruction = texts[(number + sample) % len(texts)] if texts else ""
                prompt = self._engine.language_model.elicited_prompt(
                    self.questions[number], instruction, setup.elicited_by, setup.instruction_role
                )
                # The same stream of random numbers under every condition.
                stream = f"{number}_{sample}"
                rows.append(_Row(asked, condition, number, instruction, prompt, stream))
        return rows

    def _generate(self, rows: Sequence["_Row"]) -> None:
        setup = self.setup
        by_id = {row.id: row for row in rows}
        done = {id for id in by_id if id in self._rows}

        def keep(texts: list[Generated]) -> None:
            new = [
                {
                    "id": text.name,
                    "response": text.response,
                    "prompt_tokens": text.prompt_tokens,
                    "response_tokens": text.response_tokens,
                    "finish_reason": text.finish_reason,
                }
                for text in texts
            ]
            self._rows.update({row["id"]: row for row in new})
            self._n_done += len(new)
            self.log.append(new)
            early.add(self._judging_prompts([by_id[text.name] for text in texts]))
            self.time_left.generated(len(new))
            self.on_progress(self._n_done, by_id[texts[-1].name].condition.name)

        self._n_done += len(done)
        self.time_left.had_generated(len(done))
        if len(done) == len(rows):
            self.on_progress(self._n_done, rows[-1].condition.name)
            return
        self.time_left.start()
        with EarlyJudging(setup.judge, setup.store, setup.origin) as early:
            early.add(self._judging_prompts([by_id[name] for name in done]))
            generate_texts(
                self._engine, list(by_id), [row.prompt for row in rows], setup.sampling,
                streams=[row.stream for row in rows],
                interventions=[row.condition.interventions for row in rows],
                skip=done, on_finished=keep,
            )  # fmt: skip
        self._paid_early += early.paid

    def _judging_prompts(self, rows: Iterable["_Row"]) -> dict[str, tuple[str, str]]:
        """Prompt → name of its rubric and the row's id, of finished rows."""
        definition = self.setup.definition
        return {
            prompt: (rubric, row.id)
            for row in rows
            for rubric, prompt in prompts_of(
                self.setup.judge, definition, self.questions[row.number],
                self._rows[row.id]["response"], row.round.also,
            ).items()
        }  # fmt: skip

    def _table(self, rows: Sequence["_Row"]) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "question": [self.questions[row.number] for row in rows],
                "instruction": [row.instruction for row in rows],
                "prompt": [row.prompt for row in rows],
                "question_id": [row.id for row in rows],
                "condition": [row.condition.name for row in rows],
                "question_number": [row.number for row in rows],
                "pole": "",
                **{
                    column: [self._rows[row.id][column] for row in rows]
                    for column in ("response", "prompt_tokens", "response_tokens", "finish_reason")
                },
            }
        )

    def _judge(self, asked: Round, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        setup, share = self.setup, 0.0
        n_earlier = int(table["question_id"].isin(self._earlier).sum())
        n_new = len(table) - n_earlier

        def progress(done: int, total: int, paid: Cost) -> None:
            nonlocal share
            before, share = share, done / total if total else 1.0
            self.time_left.judged((share - before) * n_new)
            self.on_progress(self._n_done, f"judged {done} of {total}")

        self.time_left.had_judged(n_earlier)
        self.time_left.start()
        result = judge_responses(
            setup.judge, setup.definition, table, store=setup.store, origin=setup.origin,
            also=asked.also, is_about_refusing=setup.is_about_refusing, on_progress=progress,
        )  # fmt: skip
        self.time_left.judged((1 - share) * n_new)
        self.judged.append(result)
        judged = result.table.join(table[["condition", "question_number"]])
        self.tables.append(judged)
        return {item.name: judged[judged["condition"] == item.name] for item in asked.conditions}


@dataclass(frozen=True, eq=False)
class _Row:
    """One response to be generated."""

    round: Round
    condition: Condition
    number: int
    instruction: str
    prompt: str
    stream: str

    @property
    def id(self) -> str:
        """The row's id on disk."""
        return f"{self.condition.name}|{self.stream}"


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
