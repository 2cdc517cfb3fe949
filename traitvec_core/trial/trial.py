"""A trial: a small balanced part of the run, generated and judged before the money is spent."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.generation.plan import (
    TRIAL_QUESTIONS,
    PlannedResponse,
    plan_trial,
)
from traitvec_core.judging.refusals import is_about_refusing
from traitvec_core.stages import SPECS
from traitvec_core.stages.context import StageContext, Workbench
from traitvec_core.stages.trial_rows import trial_journal
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.provenance import Provenance
from traitvec_core.storage.trait_lock import changing_trait
from traitvec_core.trial.contrasts import Tried, tried_pairs_and_questions
from traitvec_core.trial.known_rows import count_reused, known_rows
from traitvec_core.trial.proposals import propose
from traitvec_core.trust import check_trust
from traitvec_core.validation.elicitation import summarise_responses

if TYPE_CHECKING:
    import pandas as pd

    from traitvec_core.judging.judge import JudgedResponses
    from traitvec_core.judging.judgement_store import JudgementStore

__all__ = [
    "BUSY",
    "Trial",
    "TrialEstimate",
    "estimate_trial",
    "run_trial",
    "try_trait",
]

BUSY = "cannot be tried now"


class Trial(BaseModel):
    """What a trial showed.

    Attributes:
        trait: The trait.
        elicited_by: Whose pairs were tried.
        n_responses: Responses of the trial, both poles.
        generated: Those that this call generated; the others were there.
        reused_by_run: Those that the next run of the stage `responses` does not generate again.
        planned: Responses of that run.
        missing: Responses of the trial without a trait score.
        unfinished: Judgements that the same command asks for again, by reason.
        contrast: Mean trait score, positive − negative, over all scored responses of the trial,
            with percentiles over questions, as the check `contrast` computes it.
        threshold: What the contrast must exceed.
        pairs: The pairs, in the definition's order.
        questions: The questions that were asked, in the definition's order.
        n_questions: All questions of the definition.
        judge_usd: What the judge cost now; None if its price is unknown.
    """

    trait: str
    elicited_by: ElicitedBy
    n_responses: int
    generated: int
    reused_by_run: int
    planned: int
    missing: int
    unfinished: dict[str, int]
    contrast: Estimate
    threshold: float
    pairs: list[Tried]
    questions: list[Tried]
    n_questions: int
    judge_usd: float | None

    @property
    def is_reached(self) -> bool:
        """Whether the contrast exceeds the threshold."""
        return self.contrast.value is not None and self.contrast.value > self.threshold

    @property
    def elicit_nothing(self) -> list[Tried]:
        """The pairs, then the questions, that elicit nothing."""
        return [item for item in (*self.pairs, *self.questions) if item.elicits_nothing]

    @property
    def to_reword(self) -> list[Tried]:
        """The pairs, then the questions, that are not to stay as they are."""
        return [item for item in (*self.pairs, *self.questions) if item.proposal != "keep"]


class TrialEstimate(BaseModel):
    """What a trial will take, before anything is generated or asked.

    Attributes:
        n_responses: Responses of the trial.
        n_new: Those that are not there yet.
        judgements: Judgements, those included that the store may hold already.
        usd: The most that the new ones can cost, at the longest responses; None if a price is
            unknown.
    """

    n_responses: int
    n_new: int
    judgements: int
    usd: float | None


def try_trait(
    folder: TraitFolder,
    settings: ExperimentSettings,
    bench: Workbench | None = None,
    *,
    n_questions: int = TRIAL_QUESTIONS,
) -> Trial:
    """Generate and judge a small part of a trait's run, and say which texts elicit nothing.

    Every pair is tried on `n_questions` questions, under both poles. All of it is kept as it
    finishes: an interrupted trial goes on, and the run that follows neither generates nor judges
    these responses again.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        bench: Models and progress.
        n_questions: Questions per pair.

    Raises:
        TraitvecError: If the definition cannot be used, another process works on the trait, the
            experiment's file would run code or send a key and nobody has allowed it, or the judge
            or the model cannot be used.
    """
    check_trust(ExperimentFolder(folder.path.parent.parent, folder.path.parent.name), settings)
    folder.definition().pairs(settings.elicitation)
    with changing_trait(folder.path, "a trial", BUSY):
        return run_trial(folder, settings, bench or Workbench(), n_questions=n_questions)


def run_trial(
    folder: TraitFolder,
    settings: ExperimentSettings,
    bench: Workbench,
    *,
    n_questions: int = TRIAL_QUESTIONS,
    reworded: Collection[str] = (),
) -> Trial:
    """Run a trial as `try_trait` does, for a caller who keeps other processes out of the trait.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        bench: Models and progress.
        n_questions: Questions per pair.
        reworded: Places that a writer has reworded already.
    """
    definition = folder.definition()
    planned = _planned(folder, settings, n_questions)
    rows, n_new = _generate(folder, settings, bench, planned)
    judged = _judge(folder, settings, bench, rows)
    table = judged.table
    contrast = summarise_responses(table, settings.response_filter).contrast
    threshold = settings.thresholds.contrast
    is_reached = contrast.value is not None and contrast.value > threshold
    pairs, questions = propose(
        *tried_pairs_and_questions(table, definition, settings.elicitation, settings.thresholds),
        n_pairs=len(definition.pairs(settings.elicitation)),
        n_questions=len(definition.questions),
        is_reached=is_reached,
        threshold=threshold,
        reworded=reworded,
    )
    reused, n_planned = count_reused(folder, settings)
    return Trial(
        trait=folder.name,
        elicited_by=settings.elicitation,
        n_responses=len(planned),
        generated=n_new,
        reused_by_run=reused,
        planned=n_planned,
        missing=int(table["trait_score"].isna().sum()),
        unfinished=judged.unfinished,
        contrast=contrast,
        threshold=threshold,
        pairs=pairs,
        questions=questions,
        n_questions=len(definition.questions),
        judge_usd=judged.paid.usd,
    )


def estimate_trial(
    folder: TraitFolder,
    settings: ExperimentSettings,
    store: "JudgementStore",
    *,
    n_questions: int = TRIAL_QUESTIONS,
) -> TrialEstimate:
    """Estimate what a trial takes. Makes no API calls.

    Args:
        folder: The trait's folder.
        settings: The experiment's settings.
        store: The judgements that are known already.
        n_questions: Questions per pair.
    """
    import pandas as pd

    from traitvec_core.judging.cost_estimate import estimate_judging, longest_response

    planned = _planned(folder, settings, n_questions)
    known = {row["question_id"]: row["response"] for row in known_rows(folder, settings, planned)}
    responses = pd.DataFrame(
        {
            "question": item.question,
            "response": known.get(item.question_id, longest_response(item.question_id, settings)),
        }
        for item in planned
    )
    only_scores = settings.model_copy(update={"second_judge": None, "judge_repeats": 0})
    rubrics = {folder.name: folder.definition().eval_prompt}
    costs = estimate_judging(folder.name, rubrics, responses, only_scores, store, is_planned=True)
    prices = [cost.usd for cost in costs]
    return TrialEstimate(
        n_responses=len(planned),
        n_new=len(planned) - len(known),
        judgements=sum(cost.judgements for cost in costs),
        usd=None if None in prices else sum(price for price in prices if price),
    )


def _planned(
    folder: TraitFolder, settings: ExperimentSettings, n_questions: int
) -> list[PlannedResponse]:
    if n_questions < 1:
        raise TraitvecError(f"{n_questions} questions per pair: give at least 1")
    return plan_trial(
        folder.name, folder.definition(), settings.n_examples, settings.elicitation, n_questions
    )


def _generate(
    folder: TraitFolder,
    settings: ExperimentSettings,
    bench: Workbench,
    planned: list[PlannedResponse],
) -> "tuple[pd.DataFrame, int]":
    """Return the trial's responses, and how many of them are new."""
    from traitvec_core.generation import generate_responses

    journal = trial_journal(folder, settings, SPECS["responses"])
    known = known_rows(folder, settings, planned)
    done = len(known)
    bench.progress("responses", done, len(planned))

    def keep(rows: list[dict[str, Any]]) -> None:
        nonlocal done
        journal.append(rows)
        done += len(rows)
        bench.progress("responses", min(done, len(planned)), len(planned))

    context = _context(folder, settings, bench)
    if done == len(planned):
        return _table(known, planned), 0
    engine = context.engine()
    try:
        table = generate_responses(
            engine, planned, settings.sampling, elicited_by=settings.elicitation,
            instruction_role=settings.instruction_role, finished=known, on_batch=keep,
        )  # fmt: skip
    finally:
        engine.close()
    return table, len(planned) - len(known)


def _table(rows: list[dict[str, Any]], planned: list[PlannedResponse]) -> "pd.DataFrame":
    import pandas as pd

    from traitvec_core.generation.responses import RESPONSE_COLUMNS

    by_id = {row["question_id"]: row for row in rows}
    return pd.DataFrame([by_id[item.question_id] for item in planned], columns=[*RESPONSE_COLUMNS])


def _judge(
    folder: TraitFolder, settings: ExperimentSettings, bench: Workbench, rows: "pd.DataFrame"
) -> "JudgedResponses":
    from traitvec_core.judging.judge import judge_responses
    from traitvec_core.judging.judgement_store import Origin

    definition = folder.definition()
    context = _context(folder, settings, bench)

    def progress(done: int, total: int, paid: Any) -> None:
        note = f"${paid.usd:.4f}" if paid.usd else ""
        bench.progress("judged_responses", done, total, note)

    with context.open_judgements() as store:
        return judge_responses(
            context.load_judge(store, is_live=True), definition, rows, store=store,
            origin=Origin(folder.experiment, folder.name),
            is_about_refusing=is_about_refusing(folder.name, definition), on_progress=progress,
        )  # fmt: skip


def _context(folder: TraitFolder, settings: ExperimentSettings, bench: Workbench) -> StageContext:
    # What a trial makes is no stage's result, so nothing is recorded of it but its rows.
    nothing = Provenance(stage="judged_responses", key="", inputs={}, settings={})
    return StageContext(folder, settings, bench, nothing)
