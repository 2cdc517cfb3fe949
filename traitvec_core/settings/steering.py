"""How steering is evaluated."""

from typing import Annotated

from pydantic import Field, field_validator

from traitvec_core.errors import TraitvecError
from traitvec_core.settings.group import SettingGroup
from traitvec_core.trait import check_name

__all__ = ["Steering"]


class Steering(SettingGroup):
    """How steering is evaluated.

    Attributes:
        evaluate: Whether to evaluate steering at all. It takes several times as many responses and
            judgements as all earlier stages together.
        n_search: Responses per trial of the search, which has at most 17 trials.
        n_held_out: Responses per condition on the held-out questions; there are ten conditions.
        n_random: Number of random directions to compare the vector with.
        side_effects: Other traits of the experiment whose rubric also scores the steered responses.
    """

    evaluate: bool = True
    n_search: Annotated[int, Field(ge=2, le=100_000)] = 20
    n_held_out: Annotated[int, Field(ge=2, le=100_000)] = 40
    n_random: Annotated[int, Field(ge=1, le=100)] = 3
    side_effects: tuple[str, ...] = ()

    @field_validator("side_effects")
    @classmethod
    def _side_effects_name_traits(cls, traits: tuple[str, ...]) -> tuple[str, ...]:
        for trait in traits:
            try:
                check_name("trait", trait)
            except TraitvecError as error:
                raise ValueError(str(error)) from None
        return traits
