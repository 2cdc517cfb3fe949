"""What is to be compared with people: checked, and its cost estimated, before anything is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging.cost_estimate import JudgingCost, estimate_prompts
from traitvec_core.judging.judgement_store import JudgementStore
from traitvec_core.judging.load import JudgeChoice
from traitvec_core.judging.scorer import scorer_prompt
from traitvec_core.rubrics.comparison import MIN_LABELS
from traitvec_core.rubrics.labels import Label, labels_of
from traitvec_core.settings.scorer import is_scorer
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.trait_folder import TraitFolder
from traitvec_core.trait import fill_rubric
from traitvec_core.trust import check_trust

__all__ = ["ComparisonPlan", "Contender", "estimate_comparison", "plan_comparison"]

Source = tuple[str, str]
"""The rubric's name and the question_id, for the store of judgements."""


@dataclass(frozen=True)
class Contender:
    """A rubric and the judge that applies it.

    Attributes:
        name: How it is called in the result.
        rubric: The rubric, with `{question}` and `{answer}`.
        judge: The judge's name.
        kind: Its name in the store of judgements.
    """

    name: str
    rubric: str
    judge: str
    kind: str = "trait"

    def prompt(self, label: Label) -> str | None:
        """Return what its judge reads of a response; None for an empty one, which has no score."""
        if not label.response.strip():
            return None
        if is_scorer(self.judge):
            return scorer_prompt(label.question, label.response)
        return fill_rubric(self.rubric, label.question, label.response)


@dataclass(frozen=True)
class ComparisonPlan:
    """What will be compared; everything is checked, and nothing has been asked yet.

    Attributes:
        trait: The trait's folder.
        settings: The experiment's settings.
        contenders: The two that are compared.
        labels: Responses with people's scores.
    """

    trait: TraitFolder
    settings: ExperimentSettings
    contenders: tuple[Contender, Contender]
    labels: Sequence[Label]

    def sources(self, labels: Sequence[Label] | None = None) -> dict[str, dict[str, Source]]:
        """Return what each judge is asked about some labels: judge → prompt → its source."""
        sources: dict[str, dict[str, Source]] = {c.judge: {} for c in self.contenders}
        for label in self.labels if labels is None else labels:
            for contender in self.contenders:
                prompt = contender.prompt(label)
                if prompt is not None:
                    own = sources[contender.judge]
                    own.setdefault(prompt, (contender.kind, label.question_id))
        return sources


def plan_comparison(
    experiment: ExperimentFolder,
    trait: str,
    *,
    against: str | None = None,
    against_name: str = "the other rubric",
    judge: str | None = None,
    against_judge: str | None = None,
    labels: Sequence[Label] | None = None,
) -> ComparisonPlan:
    """Check what is to be compared. Makes no API calls; see `compare_rubrics`.

    Raises:
        TraitvecError: If there is nothing to compare, or people's scores show no order.
    """
    if (against is None) == (against_judge is None):
        raise TraitvecError(
            "name one thing to compare with: another rubric (--against FILE) or another judge"
            " (--against-judge NAME), not both"
        )
    folder = experiment.trait(trait)
    own = folder.definition().eval_prompt
    # Live: a comparison is small, and a batch may take a day.
    overrides: dict[str, Any] = {"judge_mode": "live"}
    overrides |= {"judge_model": judge} if judge else {}
    overrides |= {"second_judge": against_judge} if against_judge else {}
    settings = experiment.settings(overrides)
    check_trust(experiment, settings)
    first = judge or settings.judge_of(trait)
    if against_judge is not None:
        if against_judge == first:
            raise TraitvecError(
                f"both judges are {first!r}; name another one (--judge-model, --against-judge)"
            )
        contenders = (Contender(first, own, first), Contender(against_judge, own, against_judge))
    else:
        rubric = against or ""
        if is_scorer(first):
            raise TraitvecError(f"{first!r} reads no rubric; name a language model (--judge-model)")
        if rubric.strip() == own.strip():
            raise TraitvecError(f"{against_name} is the trait's own rubric; name another one")
        contenders = (
            Contender("the trait's rubric", own, first),
            Contender(against_name, rubric, first, kind="other rubric"),
        )
    labels = labels_of(folder) if labels is None else labels
    _check_labels(labels, trait)
    return ComparisonPlan(folder, settings, contenders, labels)


def estimate_comparison(plan: ComparisonPlan, store: JudgementStore) -> list[JudgingCost]:
    """Estimate what a comparison costs, one entry per judge; makes no API calls.

    Args:
        plan: What is compared.
        store: Judgements that are known already.
    """
    return [
        estimate_prompts(
            plan.trait.name, JudgeChoice(plan.settings, judge), plan.settings, store, "rubrics",
            [(prompt, 0) for prompt in own], is_planned=False,
        )
        for judge, own in plan.sources().items()
    ]  # fmt: skip


def _check_labels(labels: Sequence[Label], trait: str) -> None:
    if len(labels) < MIN_LABELS:
        raise TraitvecError(
            f"{trait}: people have scored {len(labels)} responses, and {MIN_LABELS} are the fewest"
            " that a comparison needs (40 show more); score more of them"
        )
    if len({label.score for label in labels}) == 1:
        raise TraitvecError(
            f"{trait}: people gave all {len(labels)} responses the score {labels[0].score:g}, so"
            " there is no order to agree with; score responses that differ"
        )
