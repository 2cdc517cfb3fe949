"""What a steering evaluation says: plain numbers, ready for JSON."""

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from traitvec_core.storage.provenance import Cost
from traitvec_core.validation.recommend import Recommendation

__all__ = ["Answer", "Interval", "Scores", "SideEffect", "SteeringEvaluation", "SteeringOptions"]


class Interval(BaseModel):
    """A mean over responses, with the interval that other questions might have given.

    Questions are drawn with replacement, with all their responses; percentiles 2.5 and 97.5. Few
    questions make it narrower than it should be.

    Attributes:
        mean: Over the responses that have a score.
        low: Lower end.
        high: Upper end.
        n: Responses that have a score.
    """

    mean: float
    low: float
    high: float
    n: int


class Answer(BaseModel):
    """One response with its scores; None is missing."""

    question: str
    response: str
    trait_score: float | None
    coherence_score: float | None


class Scores(BaseModel):
    """What one condition came to.

    Attributes:
        condition: Its name.
        method: Vector method; None without a vector, `random` for a control.
        layer: Row of the activation tensor that was steered.
        coefficient: Units of the vector that were added.
        n: Responses; what `trait` and `coherence` lack of them is missing.
        trait: Trait score; None when no response has one.
        coherence: Coherence.
        trait_moved: Trait score over that without steering, on the same questions.
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
    trait: Interval | None
    coherence: Interval | None
    trait_moved: Interval | None
    coherence_moved: Interval | None
    mean_tokens: float
    truncated: int
    examples: list[Answer]

    def is_coherent(self, minimum: float) -> bool:
        """Whether most responses have both scores, and coherence is at least `minimum`."""
        if self.trait is None or self.coherence is None:
            return False
        is_scored = min(self.trait.n, self.coherence.n) >= self.n / 2
        return is_scored and self.coherence.mean >= minimum


class SteeringOptions(BaseModel):
    """How much is spent, and what is acceptable.

    Attributes:
        n_search: Responses for each trial of the search, of which there are at most
            17; never fewer than one for each question.
        n_held_out: Responses for each condition on the held-out half; likewise.
        n_random: Random directions that the vector is held against.
        min_coherence: Least mean coherence of a dose that may be chosen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_search: int = Field(default=20, ge=2)
    n_held_out: int = Field(default=40, ge=2)
    n_random: int = Field(default=3, ge=1)
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
    unsteered: Interval | None
    steered: Interval | None
    moved: Interval | None


class SteeringEvaluation(BaseModel):
    """Everything that was measured. All but `search` is on the held-out questions.

    Attributes:
        recommendation: What to steer with; None when there is nothing to recommend.
        notes: What a reader must know before they trust it.
        questions_from: `eval_questions`, or `questions` when the trait has none of these.
        search_questions: The half on which the choice was made.
        held_out_questions: The other half.
        options: As given.
        search: Every trial of the search, in order, the unsteered one first.
        unsteered: Neither steered nor instructed.
        dose_response: The chosen vector by coefficient, ascending; 0 is `unsteered`. Empty when
            nothing was chosen.
        prompted: The trait's positive instructions, without steering.
        random: Random directions of the chosen vector's length, at its layer and coefficient.
        random_moved: How far these move the trait score, taken together.
        side_effects: Other traits.
        n_generated: Responses.
        tokens_in: Tokens that the model read.
        tokens_out: Tokens that it wrote.
        judging_cost: What all judgements cost, whenever they were paid for.
        paid: What was paid for them now.
        unfinished: Reason → judgements that another call would ask for again. While there are any,
            the choice may change.
        responses: Every judged response, with `condition` and `half`. Not part of the JSON.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

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
    random_moved: Interval | None
    side_effects: list[SideEffect]
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
        chosen = self.recommendation
        return next(
            (s for s in self.dose_response if chosen and s.coefficient == chosen.coefficient), None
        )
