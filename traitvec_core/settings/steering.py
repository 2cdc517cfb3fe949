"""How steering is evaluated."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from traitvec_core.errors import TraitvecError
from traitvec_core.settings.group import SettingGroup
from traitvec_core.trait import check_name

__all__ = ["Steering"]


class Steering(SettingGroup):
    """How steering is evaluated.

    Attributes:
        evaluate: Whether to evaluate steering. It takes several times as many responses and
            judgements as all earlier stages together, so `auto` skips it where the activations
            alone say that it cannot work; `true` insists.
        n_search: Responses per trial of the search, which has at most 16 trials.
        n_held_out: Responses per condition on the held-out questions.
        n_random: Number of random directions to compare the vector with. Each gets half of
            `n_held_out` responses.
        side_effects: Other traits of the experiment whose rubric also scores the responses of the
            chosen dose; `auto` is all of them. With `auto`, a trait that is added later does not
            make the evaluation stale.
    """

    evaluate: Literal["auto"] | bool = "auto"
    n_search: Annotated[int, Field(ge=2, le=100_000)] = 20
    n_held_out: Annotated[int, Field(ge=2, le=100_000)] = 40
    n_random: Annotated[int, Field(ge=2, le=1_000)] = 16
    side_effects: Literal["auto"] | tuple[str, ...] = "auto"

    @field_validator("side_effects")
    @classmethod
    def _side_effects_name_traits(
        cls, traits: Literal["auto"] | tuple[str, ...]
    ) -> Literal["auto"] | tuple[str, ...]:
        if traits == "auto":
            return traits
        for trait in traits:
            try:
                check_name("trait", trait)
            except TraitvecError as error:
                raise ValueError(str(error)) from None
        return traits
