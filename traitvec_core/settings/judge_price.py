"""The price of a judge's tokens."""

from typing import Annotated

from pydantic import Field

from traitvec_core.settings.group import SettingGroup

__all__ = ["JudgePrice"]


class JudgePrice(SettingGroup):
    """The price of a judge, in US dollars per million tokens.

    Attributes:
        input: Price of input tokens.
        output: Price of output tokens, including reasoning.
        cached: Price of input tokens read from the cache; the price of `input` if not set.
        batch: Price of a batch request, as a fraction of a live one.
    """

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None
    batch: Annotated[float, Field(gt=0, le=1)] = 1.0

    def usd(self, tokens_in: int, tokens_out: int, cached: int = 0) -> float:
        """Return the price of one call, in US dollars.

        Args:
            tokens_in: Input tokens, including cached ones.
            tokens_out: Output tokens.
            cached: How many of `tokens_in` came from the cache.
        """
        cached_price = self.input if self.cached is None else self.cached
        millions = (
            (tokens_in - cached) * self.input + cached * cached_price + tokens_out * self.output
        )
        return millions / 1e6
