"""What a judge costs."""

from typing import Annotated

from pydantic import Field

from traitvec_core.settings.group import SettingGroup

__all__ = ["JudgePrice"]


class JudgePrice(SettingGroup):
    """Price of a judge, in US dollars per million tokens.

    Attributes:
        input: What it reads.
        output: What it writes, thinking included.
        cached: What it reads from its cache; as `input` when not given.
        batch: What a batch costs, as a share of the price.
    """

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None
    batch: Annotated[float, Field(gt=0, le=1)] = 1.0

    def usd(self, tokens_in: int, tokens_out: int, cached: int = 0) -> float:
        """Return the dollars for one call.

        Args:
            tokens_in: Tokens read, cached ones included.
            tokens_out: Tokens written.
            cached: How many of `tokens_in` came from the cache.
        """
        of_cache = self.input if self.cached is None else self.cached
        millions = (tokens_in - cached) * self.input + cached * of_cache + tokens_out * self.output
        return millions / 1e6
