"""The result of a steering evaluation: plain numbers, ready for JSON."""

from typing import ClassVar, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from traitvec_core.estimate import Estimate
from traitvec_core.stage_names import Stage
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import Recommendation, StageManifest
from traitvec_core.storage.provenance import Cost
from traitvec_core.validation.evidence import VectorEvidence
from traitvec_core.validation.steering import SteeringOutcome, SteeringTest

__all__ = [
    "Answer",
    "Damage",
    "DamageRow",
    "Scores",
    "SideEffect",
    "SteeringEvaluation",
    "SteeringManifest",
    "SteeringOptions",
    "read_steering",
]


class Answer(BaseModel):
    """One response with its scores; None is missing."""

    question: str
    response: str
    trait_score: float | None
    coherence_score: float | None


class Scores(BaseModel):
    """The scores of one condition.

    Estimates are means over the responses that have a score. Their intervals are t intervals that
    treat a question's responses as one cluster; with one question there is none. Without any score
    an estimate has no value.

    Attributes:
        condition: Its name.
        method: Vector method; None without a vector, `random` for a control.
        layer: Row of the activation tensor that was steered.
        coefficient: Units of the vector that were added.
        n: Responses.
        n_trait: Responses with a trait score.
        n_coherence: Responses with a coherence score.
        trait: Trait score, 0–100.
        coherence: Coherence score, 0–100.
        trait_moved: Trait score minus that without steering, on the same questions.
        coherence_moved: The same for coherence.
        mean_tokens: Mean length of a response.
        truncated: Responses that were cut at the limit of tokens.
        examples: The first response to each of some questions.
    """

    condition: str
    method: str | None
    layer: int | None
    coefficient: float
    n: int
    n_trait: int
    n_coherence: int
    trait: Estimate
    coherence: Estimate
    trait_moved: Estimate
    coherence_moved: Estimate
    mean_tokens: float
    truncated: int
    examples: list[Answer]

    def is_coherent(self, minimum: float) -> bool:
        """Whether most responses have both scores, and coherence is at least `minimum`."""
        if self.trait.value is None or self.coherence.value is None:
            return False
        is_scored = min(self.n_trait, self.n_coherence) >= self.n / 2
        return is_scored and self.coherence.value >= minimum


class SteeringOptions(BaseModel):
    """How many responses an evaluation generates, and how coherent they must be.

    Attributes:
        n_search: Responses for each trial of the search, of which there are at most 16.
        n_held_out: Responses for each condition on the held-out questions.
        n_random: Random directions to compare the vector with. Each gets half of `n_held_out`
            responses, and at least one per question.
        min_coherence: Smallest mean coherence of a dose that may be chosen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_search: int = Field(default=20, ge=2)
    n_held_out: int = Field(default=40, ge=2)
    n_random: int = Field(default=16, ge=2)
    min_coherence: float = Field(default=50.0, ge=0, le=100)


class SideEffect(BaseModel):
    """What the chosen dose does to another trait, by that trait's rubric.

    Attributes:
        trait: The other trait.
        unsteered: Its score without steering.
        steered: Its score under the chosen dose.
        moved: The difference, question by question.
    """

    trait: str
    unsteered: Estimate
    steered: Estimate
    moved: Estimate


class Damage(BaseModel):
    """What the chosen dose does besides the trait.

    Attributes:
        kl_per_token: Mean KL(steered ‖ unsteered) of the next-token distributions on neutral text,
            in nats.
        perplexity_unsteered: Perplexity of the neutral text without steering.
        perplexity_steered: The same under the dose.
        n_tokens: Predicted tokens of the neutral text.
        looping_unsteered: Share of the held-out responses that end by repeating themselves.
        looping_steered: The same under the dose.
        distinct_2_unsteered: Mean share of distinct word pairs in a held-out response; None when no
            response has two words.
        distinct_2_steered: The same under the dose.
        refusal_cosine: Cosine of the vector with the experiment's refusal vector (`mean_diff`) at
            the same layer; None where there is none.
    """

    kl_per_token: float | None
    perplexity_unsteered: float | None
    perplexity_steered: float | None
    n_tokens: int
    looping_unsteered: float
    looping_steered: float
    distinct_2_unsteered: float | None
    distinct_2_steered: float | None
    refusal_cosine: float | None = None

    def rows(self) -> "list[DamageRow]":
        """Return the figures that compare with and without steering, for tables."""
        pairs = (
            ("perplexity of neutral text", self.perplexity_unsteered, self.perplexity_steered),
            ("share of looping responses", self.looping_unsteered, self.looping_steered),
            ("distinct word pairs", self.distinct_2_unsteered, self.distinct_2_steered),
        )
        rows = [
            DamageRow(what, before, after, _difference(before, after))
            for what, before, after in pairs
        ]
        divergence = self.kl_per_token
        return [DamageRow("KL per token of neutral text (nats)", None, None, divergence), *rows]


class DamageRow(NamedTuple):
    """One figure of `Damage` without and with steering; None is missing."""

    what: str
    unsteered: float | None
    steered: float | None
    moved: float | None


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


class SteeringEvaluation(StageManifest):
    """Everything that was measured; all but `search` on the held-out questions.

    Attributes:
        tested: The dose that the search chose and that was tested; None when it found none.
        recommendation: The same if it steers, else the vector that separates best; None when there
            is nothing to recommend.
        notes: Caveats for the reader.
        questions_from: `eval_questions`, or `questions` when the trait has none of these.
        search_questions: Those on which the choice was made.
        held_out_questions: The others.
        options: Numbers of responses, and the least coherence.
        search: Every trial of the search, in order, the unsteered one first.
        unsteered: Neither steered nor instructed.
        dose_response: The chosen vector by coefficient, ascending; 0 is `unsteered`. Empty when
            nothing was chosen.
        prompted: The trait's positive instructions, without steering.
        random: Random directions of the chosen vector's length, at its layer and coefficient.
        test: Whether the chosen dose steers.
        side_effects: Other traits.
        damage: What else the chosen dose changes; None when nothing was chosen.
        n_generated: Responses.
        tokens_in: Tokens that the model read.
        tokens_out: Tokens that it generated.
        judging_cost: What all judgements cost, including those of earlier runs.
        paid: What this run paid for judgements.
        unfinished: Judgements that another run would request again, by reason. While there are any,
            the choice may change.
        responses: Every judged response, with `condition` and `half`
            (`search` or `held_out`). Not part of the JSON.
    """

    stage: ClassVar[Stage] = "steering_evaluation"

    model_config = ConfigDict(arbitrary_types_allowed=True)

    tested: Recommendation | None
    recommendation: Recommendation | None
    notes: list[str]
    questions_from: str
    search_questions: list[str]
    held_out_questions: list[str]
    options: SteeringOptions
    search: list[Scores]
    unsteered: Scores
    dose_response: list[Scores]
    prompted: Scores
    random: list[Scores]
    test: SteeringTest
    side_effects: list[SideEffect]
    damage: Damage | None = None
    n_generated: int
    tokens_in: int
    tokens_out: int
    judging_cost: Cost
    paid: Cost
    unfinished: dict[str, int]
    responses: pd.DataFrame = Field(default_factory=pd.DataFrame, exclude=True, repr=False)

    @property
    def steered(self) -> Scores | None:
        """The held-out scores of the chosen dose."""
        chosen = self.tested
        return next(
            (s for s in self.dose_response if chosen and s.coefficient == chosen.coefficient), None
        )

    def at(self, significance: float) -> "SteeringEvaluation":
        """Return the same evaluation, tested at another level of significance."""
        return self.model_copy(update={"test": self.test.at(significance)})


class SteeringManifest(SteeringOutcome):
    """`steering/evaluation.json`; where steering was evaluated, the evaluation's own keys follow.

    Attributes:
        engine: What generated and steered.
        engine_backend: What ran the model there; None in this process.
        judge_model: What scored the responses.
        coherence_judge: What scored their coherence; None in older results, where it is the same.
        experiment_spent_usd: What the experiment has spent on judgements, all runs together.
        evidence: What is measured on the chosen vector; None where `vectors` has measured it.
    """

    engine: str = "transformers"
    engine_backend: str | None = None
    judge_model: str | None = None
    coherence_judge: str | None = None
    experiment_spent_usd: float | None = None
    evidence: VectorEvidence | None = None


def read_steering(folder: TraitFolder) -> SteeringEvaluation | None:
    """Return a trait's steering evaluation; None where steering was not evaluated.

    Raises:
        TraitvecError: If the stage has not finished, or another version wrote its result.
    """
    if not folder.manifest(SteeringManifest).is_evaluated:
        return None
    return folder.manifest(SteeringEvaluation, check_files=False)
