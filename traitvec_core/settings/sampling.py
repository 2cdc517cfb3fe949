"""How responses are sampled."""

from typing import Annotated

from pydantic import Field

from traitvec_core.settings.group import SettingGroup

__all__ = ["Sampling"]


class Sampling(SettingGroup):
    """How responses are sampled.

    Attributes:
        temperature: 0 is greedy decoding.
        top_p: Probability mass of nucleus sampling.
        max_new_tokens: Maximum length of a response, in tokens.
        seed: Each response has its own random stream, seeded by this and the row's id, so that
            results do not depend on batches or their order.
    """

    temperature: Annotated[float, Field(ge=0, le=10)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_new_tokens: Annotated[int, Field(ge=1, le=32_768)] = 150
    # The most that scikit-learn takes.
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
