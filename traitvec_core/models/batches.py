"""Which texts share a forward pass."""

from typing import NamedTuple

from traitvec_core.errors import TraitvecError
from traitvec_core.models.language_model import LanguageModel

__all__ = ["BatchLimit", "next_batch"]

# Once a batch has enough tokens to keep the hardware busy, it takes no text shorter than this share
# of its longest one: padding would cost more than another pass.
_MIN_LENGTH_SHARE = 0.9


class BatchLimit(NamedTuple):
    """Size limits of one forward pass; tokens include padding."""

    rows: float
    tokens: float
    enough_tokens: float

    @classmethod
    def of(cls, model: LanguageModel, batch_size: int | None) -> "BatchLimit":
        """Return the limits for a model; with None they follow from its size and device."""
        if batch_size is not None:
            return cls(batch_size, float("inf"), float("inf"))
        # A few hundred tokens keep a CPU busy; larger batches are no faster per token.
        if model.device.type == "cpu":
            return cls(float("inf"), 2_048, 256)
        return cls(float("inf"), 16_384, 8_192)

    def halved(self, model: LanguageModel, n_rows: int, width: int) -> "BatchLimit":
        """Return the limits after `n_rows` of `width` tokens ran out of memory.

        Raises:
            TraitvecError: If a single row does.
        """
        if n_rows == 1:
            raise TraitvecError(
                f"{model.name}: a single text of {width:,} tokens does not fit into the memory of"
                f" {model.device}; shorten the responses (sampling.max_new_tokens), free memory"
                " there, or use a smaller model"
            )
        return self._replace(tokens=n_rows // 2 * width)


def next_batch(waiting: list[int], lengths: list[int], limit: BatchLimit) -> list[int]:
    """Return the texts that fit into the next batch.

    Args:
        waiting: Their numbers, the longest first.
        lengths: The number of tokens of every text.
        limit: Size limits.
    """
    width = lengths[waiting[0]]
    count = 1
    for i in waiting[1:]:
        if count >= limit.rows or (count + 1) * width > limit.tokens:
            break
        if count * width >= limit.enough_tokens and lengths[i] < _MIN_LENGTH_SHARE * width:
            break
        count += 1
    return waiting[:count]
