"""What a draft will cost, before anything is sent."""

from dataclasses import dataclass

from traitvec_core.writing.asking import question_for
from traitvec_core.writing.parts import PARTS
from traitvec_core.writing.second_look import MOST_REQUESTS
from traitvec_core.writing.writer import Writer

__all__ = ["DraftEstimate", "estimate_draft"]

# Four characters per token, as for judging.
_CHARS_PER_TOKEN = 4.0
# Mean length of the prompts after the first, in tokens: measured with the worked example's outline.
_PROMPT_TOKENS = 450


@dataclass(frozen=True)
class DraftEstimate:
    """The expected cost of a draft in which every first answer is valid.

    Attributes:
        calls: Answers.
        most_calls: Answers where the linter names pairs, questions and scenarios, too; what that
            costs is not in the other figures.
        tokens_in: Input tokens.
        tokens_out: Output tokens, without reasoning.
        usd: What they cost; None if the price is unknown.
        first_usd: The most that the first answer can cost; None if the price is unknown.
    """

    calls: int
    most_calls: int
    tokens_in: int
    tokens_out: int
    usd: float | None
    first_usd: float | None


def estimate_draft(sentence: str, writer: Writer, seed: int = 0) -> DraftEstimate:
    """Estimate the cost of a draft. Makes no API calls."""
    first = question_for(PARTS[0], sentence, {}, seed)
    tokens_in = round(len(first.prompt) / _CHARS_PER_TOKEN) + _PROMPT_TOKENS * (len(PARTS) - 1)
    tokens_out = sum(part.tokens_out for part in PARTS)
    usd = None if writer.price is None else writer.price.usd(tokens_in, tokens_out)
    first_usd = None if writer.price is None else writer.most_usd(first)
    n = len(PARTS)
    return DraftEstimate(n, n + MOST_REQUESTS, tokens_in, tokens_out, usd, first_usd)
