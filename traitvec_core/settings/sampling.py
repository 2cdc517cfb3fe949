"""How responses are sampled."""

from typing import Annotated

from pydantic import Field

from traitvec_core.settings.group import SettingGroup

__all__ = ["Sampling"]


class Sampling(SettingGroup):
    """How responses are drawn.

    Attributes:
        temperature: 0 is greedy.
        top_p: Nucleus mass.
        max_new_tokens: Longest response, in tokens.
        seed: Every row draws from a stream of its own, named by this seed and the row's id.
    """

    temperature: Annotated[float, Field(ge=0, le=10)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_new_tokens: Annotated[int, Field(ge=1, le=32_768)] = 150
    seed: Annotated[int, Field(ge=0)] = 0
