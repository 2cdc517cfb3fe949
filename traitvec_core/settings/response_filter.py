"""Which judged responses count: the thresholds that every reader of scores applies."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["Pairing", "ResponseFilter"]

Pairing = Literal["independent", "paired"]
"""Whether a response is kept by itself, or only together with its counterpart."""


class ResponseFilter(BaseModel):
    """The filter that decides which responses vectors are made from.

    Attributes:
        threshold: Positives score at least this on the trait, negatives less, 0–100.
        min_coherence: Both score at least this on coherence, 0–100.
        pairing: `paired` keeps a response only together with its counterpart.
    """

    model_config = ConfigDict(frozen=True)

    threshold: float = 50.0
    min_coherence: float = 50.0
    pairing: Pairing = "independent"
