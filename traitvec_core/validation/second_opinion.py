"""Do two elicitations of one trait agree? Each one's vector on the other's responses.

Both ask the same questions, so a vector is put to responses to questions that it has not seen: what
it remembers of a question must not pass for the trait. The test is an intersection of two: in each
direction, the poles of the responses are swapped by entire pairs and by entire questions, while the
vectors stay. Where either elicitation is noise, its own responses' labels are exchangeable, so that
`agree` needs luck of at most 5%. Two real but unrelated directions overlap by chance too, so the
cosine must be more than meaningless labels give.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.validation.second_cosines import LayerCosine, cosines_by_layer
from traitvec_core.validation.second_transfer import (
    Elicited,
    SteeringEffect,
    Transfer,
    measure_transfer,
)
from traitvec_core.vectors.direction import MethodOptions

__all__ = ["SAME_TRAIT", "Opinion", "SecondOpinion", "compare_elicitations"]

SAME_TRAIT = 0.8
"""An AUROC on the other elicitation's responses from which two vectors are of the same trait."""

Opinion = Literal["agree", "disagree", "unclear"]


class SecondOpinion(BaseModel):
    """Whether a second elicitation of the same trait agrees.

    Attributes:
        experiment: The second experiment.
        elicited_by: How this one and the second one elicit.
        opinion: `agree` if both vectors reach `SAME_TRAIT` on the other's responses, beyond chance,
            and so does the cosine of the mean differences at their layers;
            `disagree` if one of two vectors that separate their own responses does not, with its
            interval; else `unclear`.
        sentence: The same in a sentence.
        transfers: This one's vector on the second's responses, and the other way round.
        cosines: By method and layer.
        steering: This experiment's effect, and the second's.
    """

    experiment: str
    elicited_by: tuple[ElicitedBy, ElicitedBy]
    opinion: Opinion
    sentence: str
    transfers: tuple[Transfer, Transfer]
    cosines: list[LayerCosine]
    steering: list[SteeringEffect]

    @property
    def line(self) -> str:
        """The figures in one line, as the checks of this experiment say it."""
        there, back = (each.auroc.format(".2f") for each in self.transfers)
        says = {
            "agree": "agrees",
            "disagree": "disagrees",
            "unclear": "neither agrees nor disagrees",
        }
        return (
            f"{self.experiment} {says[self.opinion]}: this vector separates its responses at"
            f" {there}, its vector these at {back} (AUROC)"
        )

    def cosine_of(self, method: str, layer: int) -> LayerCosine | None:
        """Return one cosine, or None."""
        return next((c for c in self.cosines if (c.method, c.layer) == (method, layer)), None)


def compare_elicitations(
    own: Elicited,
    second: Elicited,
    *,
    significance: float = 0.05,
    options: MethodOptions = MethodOptions(),
) -> SecondOpinion:
    """Compare two elicitations of one trait in one model.

    Args:
        own: This experiment's.
        second: The second experiment's; activations of the same layers and width.
        significance: What p-values must not exceed for `agree`.
        options: As for the extraction; its seed is also for draws and labelings.
    """
    transfers = measure_transfer(own, second, options), measure_transfer(second, own, options)
    cosines = cosines_by_layer(
        own.examples, second.examples, own.vectors, second.vectors,
        layers=(own.layer, second.layer), seed=options.seed,
    )  # fmt: skip
    doubts = [
        cosine
        for cosine in cosines
        if cosine.method == "mean_diff"
        and cosine.layer in {own.layer, second.layer}
        and cosine.is_by_chance
    ]
    opinion = _opinion(transfers, doubts, significance)
    return SecondOpinion(
        experiment=second.experiment,
        elicited_by=(own.elicited_by, second.elicited_by),
        opinion=opinion,
        sentence=_sentence(opinion, transfers, (own, second), doubts, significance),
        transfers=transfers,
        cosines=cosines,
        steering=[own.steering, second.steering],
    )


def _opinion(
    transfers: Sequence[Transfer], doubts: Sequence[LayerCosine], significance: float
) -> Opinion:
    if not doubts and all(
        (each.auroc.value or 0.0) >= SAME_TRAIT
        and each.p_value is not None
        and each.p_value <= significance
        for each in transfers
    ):
        return "agree"
    separates_own = all((each.own_auroc.value or 0.0) >= SAME_TRAIT for each in transfers)
    is_below = any(
        each.auroc.high is not None and each.auroc.high < SAME_TRAIT for each in transfers
    )
    return "disagree" if separates_own and is_below else "unclear"


def _sentence(
    opinion: Opinion,
    transfers: tuple[Transfer, Transfer],
    sides: tuple[Elicited, Elicited],
    doubts: Sequence[LayerCosine],
    significance: float,
) -> str:
    own, second = sides
    if own.elicited_by == second.elicited_by:
        names = [f"{each.experiment}'s" for each in sides]
        vectors, causes = names, [f"{each.experiment} elicits" for each in sides]
    else:
        names = [each.elicited_by.removesuffix("s") for each in sides]
        vectors = [f"the {name}" for name in names]
        causes = [f"the {each.elicited_by} elicit" for each in sides]
    there, back = (each.auroc.format(".2f") for each in transfers)
    figures = (
        f"{vectors[0]} vector separates {names[1]} responses at {there}, {vectors[1]} vector"
        f" {names[0]} responses at {back} (AUROC)"
    )
    if opinion == "agree":
        return f"{figures}: the same trait"
    if opinion == "disagree":
        return f"{figures}: what {causes[0]} is not what {causes[1]}"
    return f"{figures}: unclear, because {_doubt(transfers, doubts, significance)}"


def _doubt(
    transfers: Sequence[Transfer], doubts: Sequence[LayerCosine], significance: float
) -> str:
    for each in transfers:
        if (each.own_auroc.value or 0.0) < SAME_TRAIT:
            own = each.own_auroc.format(".2f")
            return f"{each.vector_of}'s vector separates its own responses at only {own}"
    if any(each.p_value is None or each.p_value > significance for each in transfers):
        return "swapped poles do as well"
    if any((each.auroc.value or 0.0) < SAME_TRAIT for each in transfers):
        return f"one is below {SAME_TRAIT:g}, and its interval is not"
    worst = doubts[0]
    return (
        f"their cosine at layer {worst.layer} is {worst.cosine:.2f}, and meaningless labels reach"
        f" {worst.chance:.2f}"
    )
