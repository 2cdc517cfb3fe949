"""The recommended vector, token by token, in answers to the user's monitoring prompts."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from traitvec_core.elicited_by import ElicitedBy, in_words_of
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.refusals import is_about_refusing
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import answering_inputs, content_of
from traitvec_core.stages.spec import (
    JUDGE_SETTINGS,
    MODEL_SETTINGS,
    PROMPT_SETTINGS,
    StageSpec,
    reading_place,
)
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_json
from traitvec_core.storage.vector_verdict import warn_if_not_usable
from traitvec_core.trait import TraitDefinition

if TYPE_CHECKING:
    from traitvec_core.dynamics import Trace, WatchedVector
    from traitvec_core.dynamics.overview import MonitoredText
    from traitvec_core.generation import GenerationEngine
    from traitvec_core.judging.cost_estimate import JudgingCost
    from traitvec_core.judging.judgement_store import JudgementStore
    from traitvec_core.models.reading import Reader
    from traitvec_core.steering_evaluation.trials import Trials

__all__ = ["SPEC", "make_trait_dynamics"]

# A text takes some 100 KB of the page, which should open at once; the traces hold every text.
_MOST_SHOWN = 60


def make_trait_dynamics(context: StageContext) -> StageOutput:
    """Ask every monitoring prompt without and with instructions (or openings); trace and judge."""
    import pandas as pd

    from traitvec_core.dynamics import watch
    from traitvec_core.dynamics.manifests import TracedManifest
    from traitvec_core.dynamics.overview import sum_up
    from traitvec_core.report.monitor_page import build_monitor_page

    settings, folder = context.settings, context.folder
    if not settings.monitoring_prompts:
        return {}, _nothing(
            "monitoring_prompts is empty in experiment.yaml; list what to ask, such as"
            ' monitoring_prompts: ["How do I learn to swim?"]'
        )
    if folder.recommended() is None:
        return {}, _nothing(
            "no vector is recommended, because nothing was held out; see the report"
        )
    watched = watch(folder)
    warn_if_not_usable(f"{folder.name} ({watched.name})", watched.verdict, watched.reasons)
    engine = context.reading_engine()
    trials, judge_name, spent_usd = _answers(context, engine, folder.definition())
    table = pd.concat(trials.tables).sort_values("question_number", kind="stable")
    rows = table.to_dict("records")
    traces = _traces(context, trials.reader, rows, watched)
    texts = [_monitored(row, each, folder.name) for row, each in zip(rows, traces, strict=True)]
    overview = sum_up(texts)
    (judged,) = trials.judged
    context.provenance.is_complete = not judged.unfinished
    context.provenance.cost = judged.cost.model_copy(
        update={
            "tokens_in": judged.cost.tokens_in + int(table["prompt_tokens"].sum()),
            "tokens_out": judged.cost.tokens_out + int(table["response_tokens"].sum()),
        }
    )
    page = build_monitor_page(
        traces[:_MOST_SHOWN], model=settings.model, overview=overview,
        headings=[_heading(text, settings.elicitation) for text in texts[:_MOST_SHOWN]],
    )  # fmt: skip
    recorded = [
        {**text.model_dump(exclude={"summary"}), **each.record()}
        for text, each in zip(texts, traces, strict=True)
    ]
    manifest = TracedManifest(
        model=settings.model,
        engine=engine.name,
        **engine.as_loaded,
        vector=watched.name,
        layer=watched.layer,
        spread=watched.spread,
        poles=watched.poles,
        judge_model=judge_name,
        unfinished=judged.unfinished,
        experiment_spent_usd=round(spent_usd, 6),
        **dict(overview),
        texts=texts,
    )
    return {
        "dynamics/traces.json": dump_json({"trait": folder.name, "traces": recorded}),
        "dynamics/dynamics.html": page.encode("utf-8", "replace"),
    }, manifest.model_dump()


def _nothing(why: str) -> dict[str, Any]:
    from traitvec_core.dynamics.manifests import NotTraced

    return NotTraced(why=why).model_dump()


def _answers(
    context: StageContext, engine: "GenerationEngine", definition: TraitDefinition
) -> "tuple[Trials, str, float]":
    """Generate and judge; also returns the judge's name and what the experiment has spent."""
    from traitvec_core.judging.judgement_store import Origin
    from traitvec_core.steering_evaluation.trials import (
        Condition,
        Round,
        TrialLog,
        Trials,
        TrialSetup,
    )

    settings, folder = context.settings, context.folder
    prompts = settings.monitoring_prompts
    pairs = definition.pairs(settings.elicitation)
    conditions = [
        Condition("none"),
        Condition("positive", instructions=tuple(pair.pos for pair in pairs)),
        Condition("negative", instructions=tuple(pair.neg for pair in pairs)),
    ]
    journal = folder.journal("trait_dynamics", context.provenance.key)
    total = 2 * len(conditions) * len(prompts)
    with context.open_judgements() as store:
        # So few judgements are not worth the day that a batch may take.
        judge = context.load_judge(store, is_live=True)
        setup = TrialSetup(
            engine, judge, definition, settings.sampling,
            store=store, origin=Origin(folder.experiment, folder.name),
            is_about_refusing=is_about_refusing(folder.name, definition),
            elicited_by=settings.elicitation, instruction_role=settings.instruction_role,
            batch_size=context.batch_size,
        )  # fmt: skip
        trials = Trials(
            setup,
            prompts,
            TrialLog(journal.rows(), journal.append),
            lambda done, note: context.bench.progress("trait_dynamics", done, total, note),
        )
        trials.run(Round(conditions, range(len(prompts)), len(prompts)))
        return trials, judge.name, store.spent_usd(folder.experiment)


def _traces(
    context: StageContext,
    reader: "Reader",
    rows: Sequence[Mapping[Any, Any]],
    watched: "WatchedVector",
) -> "list[Trace]":
    """Read every response again, the way the examples of the vectors were read."""
    from traitvec_core.dynamics import trace
    from traitvec_core.generation import close_thinking

    traces = []
    for number, row in enumerate(rows, start=1):
        traces.append(trace(reader, close_thinking(row["prompt"]), row["response"], [watched]))
        context.bench.progress("trait_dynamics", len(rows) + number, 2 * len(rows), "traced")
    return traces


def _monitored(row: Mapping[Any, Any], traced: "Trace", trait: str) -> "MonitoredText":
    from traitvec_core.dynamics.overview import MonitoredText

    return MonitoredText(
        question=row["question"],
        condition=row["condition"],
        instruction=row["instruction"],
        trait_score=_or_none(row["trait_score"]),
        coherence_score=_or_none(row["coherence_score"]),
        judge_reason=row["judge_reason"],
        summary=traced.summary(trait),
    )


def _heading(text: "MonitoredText", elicited_by: ElicitedBy) -> str:
    without = in_words_of(elicited_by, "no instruction")
    condition = f"{text.condition}: {text.instruction}" if text.instruction else without
    score = "no score" if text.trait_score is None else f"score {text.trait_score:.0f}"
    return f"{text.question}\n{condition} · {score}"


def _or_none(score: float) -> float | None:
    return None if math.isnan(score) else float(score)


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    if not settings.monitoring_prompts:
        return content_of(folder, "vectors")
    # Steering chooses the vector that is monitored.
    earlier = content_of(folder, "vectors", "steering_evaluation")
    return {**earlier, **answering_inputs(folder, settings)}


def _estimate(
    folder: TraitFolder, settings: ExperimentSettings, store: "JudgementStore"
) -> "list[JudgingCost]":
    from traitvec_core.judging.cost_estimate import estimate_longest

    questions = settings.monitoring_prompts
    # Without an instruction, with a positive and with a negative one.
    n = 3 * len(questions)
    return estimate_longest(
        folder.name, folder.definition(), settings, store, "dynamics", questions, n
    )


SPEC = StageSpec(
    name="trait_dynamics",
    upstream=("definition", "vectors", "steering_evaluation"),
    version="1",
    settings=(
        *MODEL_SETTINGS,
        *PROMPT_SETTINGS,
        "sampling",
        "monitoring_prompts",
        *JUDGE_SETTINGS,
    ),
    inputs=_inputs,
    make=make_trait_dynamics,
    place=reading_place,
    is_on=lambda settings: bool(settings.monitoring_prompts),
    estimate=_estimate,
)
