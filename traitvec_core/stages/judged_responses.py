"""Stage 1b: the responses with their scores, and how far the judge can be trusted."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.refusals import is_about_refusing, refusal_as_score
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.inputs import content_of, judge_inputs, other_traits, rubric_inputs
from traitvec_core.stages.spec import JUDGE_SETTINGS, Place, StageSpec
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import response_csvs
from traitvec_core.storage.manifests import JudgeComparison, JudgedResponsesManifest
from traitvec_core.storage.provenance import Cost, content_hash

if TYPE_CHECKING:
    import pandas as pd

    from traitvec_core.judging.cost_estimate import JudgingCost
    from traitvec_core.judging.judge import JudgedResponses
    from traitvec_core.judging.judgement_store import JudgementStore, Origin

__all__ = ["SPEC", "make_judged_responses"]

_ANSWERED = {"ok", "refusal"}


def make_judged_responses(context: StageContext) -> StageOutput:
    """Score every response, and score a sample again to measure agreement."""
    from traitvec_core.judging.judge import judge_responses
    from traitvec_core.judging.judgement_store import Origin

    settings, folder = context.settings, context.folder
    definition = folder.definition()
    responses = folder.read_responses("responses")
    origin = Origin(folder.experiment, folder.name)
    also = other_traits(folder, settings.also_judge)

    def progress(done: int, total: int, paid: Cost) -> None:
        note = f"${paid.usd:.4f}" if paid.usd else ""
        context.bench.progress("judged_responses", done, total, note)

    with context.open_judgements() as store:
        judge = context.load_judge(store, also=also)
        judged = judge_responses(
            judge, definition, responses, store=store, origin=origin, also=also,
            is_about_refusing=is_about_refusing(folder.name, definition), on_progress=progress,
        )  # fmt: skip
        compared = _compared(context, judged, store, origin)
        spent_usd = store.spent_usd(folder.experiment)
    context.provenance.cost = judged.cost
    context.provenance.is_complete = not judged.unfinished
    table = judged.table
    reasons = {
        name: _counts(table.loc[table[column] != "", column])
        for name, column in (("trait", "judge_reason"), ("coherence", "coherence_reason"))
    }
    for name, counts in reasons.items():
        if counts:
            common = max(counts, key=lambda reason: counts[reason])
            context.bench.say(
                f"{sum(counts.values())} of {len(table)} {name} scores are missing; most often:"
                f" {common} ({counts[common]})"
            )
    manifest = JudgedResponsesManifest(
        judge_model=judge.name,
        judge=json.loads(judge.identity),
        coherence_judge=settings.judge_of_coherence,
        judge_mode=settings.judge_mode,
        trait_status=_counts(table["judge_status"]),
        coherence_status=_counts(table["coherence_status"]),
        missing_reasons=reasons,
        also_judged=sorted(also),
        asked_now=judged.n_asked,
        paid_now=judged.paid,
        unfinished=judged.unfinished,
        experiment_spent_usd=round(spent_usd, 6),
        compared=compared,
    )
    return response_csvs(table, ""), manifest.model_dump(mode="json", by_alias=True)


def _counts(values: "pd.Series[str]") -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().items()}


def _compared(
    context: StageContext, judged: "JudgedResponses", store: "JudgementStore", origin: "Origin"
) -> list[JudgeComparison]:
    """Return the judge's scores of a sample, paired with a second judge's, its own and people's."""
    from traitvec_core.judging.agreement import agreement_sample, parse_human_scores
    from traitvec_core.judging.judge import count_unusable, score_prompts
    from traitvec_core.judging.panel import prompt_for

    settings, table = context.settings, judged.table
    rubric = context.folder.definition().eval_prompt
    sample = agreement_sample(table, settings.agreement_sample)
    own = settings.judge_of(context.folder.name)

    def judge_again(name: str, repeat: int) -> list[tuple[str, float | None, float | None]]:
        judge = context.load_judge(store, name=name)
        prompts = [
            prompt_for(judge, rubric, row["question"], row["response"])
            for row in sample.to_dict("records")
        ]
        sources = {
            prompt: ("trait", question_id)
            for prompt, question_id in zip(prompts, sample["question_id"], strict=True)
        }
        judgements, paid, n_asked = score_prompts(
            judge, sources, store=store, origin=origin, repeat=repeat,
            on_progress=lambda done, total, paid: context.bench.progress(
                "judged_responses", done, total, f"sample by {judge.name}"
            ),
        )  # fmt: skip
        count_unusable(judge, judgements, store, repeat)
        judged.paid = judged.paid + paid
        judged.n_asked += n_asked
        for judgement in judgements.values():
            judged.cost = judged.cost + Cost(
                tokens_in=judgement.tokens_in, tokens_out=judgement.tokens_out, usd=judgement.usd
            )
            if not judgement.is_final:
                judged.unfinished[judgement.reason] = judged.unfinished.get(judgement.reason, 0) + 1
        is_refusing = is_about_refusing(context.folder.name, context.folder.definition())
        second = [
            # As in the table.
            (refusal_as_score(judgement) if is_refusing else judgement).score
            for judgement in (judgements[prompt] for prompt in prompts)
        ]
        return list(zip(sample["question_id"], sample["trait_score"], second, strict=True))

    compared = []
    if settings.second_judge is not None:
        scores = judge_again(settings.second_judge, 0)
        compared.append(JudgeComparison(with_=settings.second_judge, scores=scores))
    if settings.judge_repeats:
        repeats = [row for k in range(settings.judge_repeats) for row in judge_again(own, k + 1)]
        compared.append(JudgeComparison(with_="itself, asked again", scores=repeats))
    human = context.folder.human_scores()
    if human is not None:
        where = display_path(context.folder.human_scores_path)
        by_people = parse_human_scores(human, where, set(table["question_id"]))
        rated = table[table["question_id"].isin(by_people)]
        pairs = zip(rated["question_id"], rated["trait_score"], strict=True)
        scores = [(name, score, by_people[name]) for name, score in pairs]
        compared.append(JudgeComparison(with_="human scores", scores=scores))
    return compared


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    from traitvec_core.judging.load import judge_fingerprint

    others = other_traits(folder, settings.also_judge)
    inputs = {
        **content_of(folder, "responses"),
        "rubric": folder.definition().rubric_hash,
        **judge_inputs(folder, settings, others),
        **rubric_inputs(others),
    }
    if settings.second_judge is not None:
        inputs["second_judge"] = judge_fingerprint(
            settings, settings.second_judge, folder.path.parent
        )
    human_scores = folder.human_scores()
    if human_scores is not None:
        inputs["human_scores"] = content_hash(human_scores)
    return inputs


def _place(settings: ExperimentSettings) -> Place:
    from traitvec_core.judging.load import used_judges

    # The graph is the same for all traits, so the judges of all of them count.
    providers = [choice.provider for choice in used_judges(settings)]
    if any(provider.needs_gpu for provider in providers):
        return "gpu"
    return "here" if all(provider.is_in_process for provider in providers) else "elsewhere"


def _count_missing(metadata: Mapping[str, Any]) -> int:
    """Judgements without a usable answer, final or not; a refusal is an answer."""
    counts = (metadata["trait_status"], metadata["coherence_status"])
    return sum(n for each in counts for status, n in each.items() if status not in _ANSWERED)


def _estimate(
    folder: TraitFolder, settings: ExperimentSettings, store: "JudgementStore"
) -> "list[JudgingCost]":
    import pandas as pd

    from traitvec_core.generation.plan import plan_responses
    from traitvec_core.judging.cost_estimate import estimate_judging, longest_response

    definition = folder.definition()
    others = other_traits(folder, settings.also_judge)
    try:
        responses, is_planned = folder.read_responses("responses"), False
    except TraitvecError:
        planned = plan_responses(folder.name, definition, settings.n_examples, settings.elicitation)
        responses, is_planned = (
            pd.DataFrame(
                {"question": p.question, "response": longest_response(p.question_id, settings)}
                for p in planned
            ),
            True,
        )
    return estimate_judging(
        folder.name,
        {folder.name: definition.eval_prompt, **{n: d.eval_prompt for n, d in others.items()}},
        responses, settings, store, is_planned=is_planned,
    )  # fmt: skip


def _elsewhere(folder: TraitFolder, settings: ExperimentSettings) -> list[str]:
    return [f"{folder.experiment}/{name}" for name in settings.also_judge]


SPEC = StageSpec(
    name="judged_responses",
    upstream=("definition", "responses"),
    version="2",
    settings=(*JUDGE_SETTINGS, "also_judge", "second_judge", "judge_repeats", "agreement_sample"),
    inputs=_inputs,
    elsewhere=_elsewhere,
    make=make_judged_responses,
    place=_place,
    estimate=_estimate,
    count_missing=_count_missing,
)
