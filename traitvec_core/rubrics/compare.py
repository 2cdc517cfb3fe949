"""Scores labelled responses with two rubrics, or by two judges, and compares both with people."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from traitvec_core.errors import TraitvecError
from traitvec_core.estimate import Estimate
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.judge import (
    EMPTY_RESPONSE,
    count_unusable,
    score_prompts,
)
from traitvec_core.judging.judgement_store import JUDGEMENTS_FILE, JudgementStore, Origin
from traitvec_core.judging.load import JudgeChoice, load_judge
from traitvec_core.judging.prices import price_of
from traitvec_core.judging.reading import Judgement
from traitvec_core.judging.refusals import is_about_refusing, refusal_as_score
from traitvec_core.models.files import LoadOptions
from traitvec_core.rubrics.comparison import (
    ContenderResult,
    RubricComparison,
    compare_with_people,
)
from traitvec_core.rubrics.labels import Label
from traitvec_core.rubrics.plan import ComparisonPlan, Contender, plan_comparison
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.provenance import Cost

if TYPE_CHECKING:
    from traitvec_core.models.language_model import LanguageModel

__all__ = ["compare_rubrics", "run_comparison"]

_AT_ONCE = 5
_Load = Callable[[str, LoadOptions], "LanguageModel"]


def compare_rubrics(
    experiment: ExperimentFolder,
    trait: str,
    *,
    against: str | None = None,
    judge: str | None = None,
    against_judge: str | None = None,
    labels: Sequence[Label] | None = None,
    max_usd: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> RubricComparison:
    """Measure which of two rubrics, or of two judges, agrees better with people.

    Judgements are kept in the experiments' store: nothing is paid for twice, and an interrupted
    comparison goes on.

    Args:
        experiment: The experiment.
        trait: The trait's name; its own rubric is the first, or the one that both judges apply.
        against: Another rubric, with `{question}` and `{answer}`.
        judge: The judge; by default the trait's.
        against_judge: Another judge of the same rubric, instead of `against`.
        labels: Responses with people's scores; by default those of `human_scores.csv`.
        max_usd: The most that this comparison may cost; `max_judge_usd` of the experiment holds
            too.
        say: Called with a line when a judge does not answer.

    Returns:
        The rank correlations with people, their difference with its interval, and the responses on
        which people differ most from the better one.

    Raises:
        TraitvecError: If there is nothing to compare, there are too few labels, or a judge cannot
            be used.
    """
    plan = plan_comparison(
        experiment, trait, against=against, judge=judge, against_judge=against_judge, labels=labels
    )
    return run_comparison(plan, max_usd=max_usd, say=say)


def run_comparison(
    plan: ComparisonPlan,
    *,
    max_usd: float | None = None,
    load_model: _Load | None = None,
    say: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int, Cost], None] = lambda done, total, paid: None,
) -> RubricComparison:
    """Ask for the judgements that the store lacks, and compare; see `compare_rubrics`.

    Args:
        plan: What is compared.
        max_usd: The most that this call may cost.
        load_model: Loads a model that judges in this process.
        say: Called with a line when a judge does not answer.
        on_progress: Called with judgements done, their total, and the cost so far.
    """
    trait = plan.trait
    origin = Origin(trait.experiment, trait.name)
    judgements: dict[str, dict[str, Judgement]] = {}
    n_asked, paid, n_done = 0, Cost(), 0
    with JudgementStore(trait.path.parent.parent / JUDGEMENTS_FILE) as store:
        settings = _limited(plan, max_usd, store.spent_usd(trait.experiment))
        parts = [
            (name, own)
            for part in _parts(plan, settings)
            for name, own in plan.sources(part).items()
        ]
        total = sum(len(own) for _, own in parts)
        # All of them first: a missing key must not end a comparison halfway.
        judges = {
            name: load_judge(
                settings, store, name=name, load_model=_loader(settings, load_model),
                experiment=trait.experiment, say=say, folder=trait.path.parent,
            )
            for name in dict.fromkeys(name for name, _ in parts)
        }  # fmt: skip
        for name, own in parts:

            def report(
                done: int, _: int, cost: Cost, before: int = n_done, spent: Cost = paid
            ) -> None:
                on_progress(before + done, total, spent + cost)

            new, paid_now, n_new = score_prompts(
                judges[name], own, store=store, origin=origin, on_progress=report
            )
            count_unusable(judges[name], new, store)
            judgements.setdefault(name, {}).update(new)
            n_done, paid, n_asked = n_done + len(own), paid + paid_now, n_asked + n_new
    is_refusing = is_about_refusing(trait.name, trait.definition())
    first, second = (
        _scored(contender, plan.labels, judgements[contender.judge], is_refusing)
        for contender in plan.contenders
    )
    result = compare_with_people(
        trait.name, plan.labels, (first[0], second[0]), (first[1], second[1])
    )
    unfinished = Counter(
        judgement.reason
        for own_judgements in judgements.values()
        for judgement in own_judgements.values()
        if not judgement.is_final
    )
    return result.model_copy(
        update={"n_asked": n_asked, "paid_usd": paid.usd, "unfinished": dict(unfinished)}
    )


def _parts(plan: ComparisonPlan, settings: ExperimentSettings) -> list[Sequence[Label]]:
    # A judge asks in random order: with a budget, a few responses at a time, so that one that is
    # spent leaves responses that both have scored.
    size = _AT_ONCE if settings.max_judge_usd is not None else len(plan.labels)
    return [plan.labels[begin : begin + size] for begin in range(0, len(plan.labels), size)]


def _scored(
    contender: Contender,
    labels: Sequence[Label],
    judgements: Mapping[str, Judgement],
    is_about_refusing: bool,
) -> tuple[ContenderResult, list[float | None]]:
    prompts = [contender.prompt(label) for label in labels]
    own = [EMPTY_RESPONSE if prompt is None else judgements[prompt] for prompt in prompts]
    if is_about_refusing:
        # As in the tables of the trait.
        own = [refusal_as_score(judgement) for judgement in own]
    missing = Counter(judgement.reason for judgement in own if judgement.score is None)
    result = ContenderResult(
        name=contender.name, judge=contender.judge, spearman=Estimate(), missing=dict(missing)
    )
    return result, [judgement.score for judgement in own]


def _loader(
    settings: ExperimentSettings, load_model: _Load | None
) -> "Callable[[str], LanguageModel]":
    def load(name: str) -> "LanguageModel":
        is_own = name == settings.model
        options = settings.load_options if is_own else LoadOptions(dtype=settings.dtype)
        if load_model is not None:
            return load_model(name, options)
        from traitvec_core.models.language_model import load_language_model

        return load_language_model(name, **vars(options))

    return load


def _limited(plan: ComparisonPlan, max_usd: float | None, spent_usd: float) -> ExperimentSettings:
    """Return the settings with the smaller of two limits: the experiment's, and this call's."""
    settings = plan.settings
    if max_usd is None:
        return settings
    if not (math.isfinite(max_usd) and max_usd >= 0):
        raise TraitvecError(f"max_usd {max_usd}: give an amount in dollars, such as 1.00")
    for judge in plan.sources():
        choice = JudgeChoice(settings, judge)
        if not choice.provider.is_in_process and price_of(judge, settings.judge_prices) is None:
            raise TraitvecError(
                f"--max-usd needs the price of {judge!r}, which is unknown; add `judge_prices:"
                f" {{{judge}: {{input: 0.25, output: 2.00}}}}` to experiment.yaml (dollars per"
                " million tokens)"
            )
    limit = spent_usd + max_usd
    if settings.max_judge_usd is not None:
        limit = min(limit, settings.max_judge_usd)
    return settings.model_copy(update={"max_judge_usd": limit})
