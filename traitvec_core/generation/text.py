"""From tokens to a response: where it ends, what of it is thinking, how it is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from traitvec_core.generation.engine import Request
from traitvec_core.language_model import LanguageModel

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Generated", "close_thinking", "count_responses", "is_looping", "read_tokens",
           "split_thinking"]  # fmt: skip

# How models that think out loud mark it.
_MARKS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
)
# A text loops when its end is the same piece at least this often, over at least so many characters;
# a list, a rule of dashes or a chorus is shorter.
_LEAST_REPEATS = 3
_LEAST_LOOP_CHARS = 60
# No more than this of a long text is looked at.
_TAIL_CHARS = 6000


@dataclass(frozen=True)
class Generated:
    """A finished response.

    Attributes:
        name: The request's name.
        response: What the model answered, without its thinking.
        thinking: What it thought aloud before; empty for nearly all models.
        prompt_tokens: Tokens of the prompt.
        response_tokens: Tokens that were generated, thinking included, the end token not.
        finish_reason: `stop` or `length`.
    """

    name: str
    response: str
    thinking: str
    prompt_tokens: int
    response_tokens: int
    finish_reason: str


def read_tokens(model: LanguageModel, request: Request, tokens: Sequence[int]) -> Generated:
    """Return the response that generated tokens stand for; what follows an end token is padding."""
    ends = set(model.end_token_ids)
    stop = next((i for i, token in enumerate(tokens) if token in ends), None)
    kept = list(tokens if stop is None else tokens[:stop])
    thinking, response = split_thinking(_decode(model, kept), request.prompt)
    return Generated(
        name=request.name,
        response=response,
        thinking=thinking,
        prompt_tokens=len(request.ids),
        response_tokens=len(kept),
        finish_reason="length" if stop is None else "stop",
    )


def split_thinking(text: str, prompt: str = "") -> tuple[str, str]:
    """Split what a model thought aloud from what it answered.

    Args:
        text: What was generated.
        prompt: The prompt; some templates end it with the mark that opens the thinking.

    Returns:
        (thinking, response). A text that was cut off while thinking has no response at all. A text
        without thinking is returned as it is.
    """
    for opening, closing in _MARKS:
        is_opened = prompt.rstrip().endswith(opening)
        if not is_opened and not text.lstrip().startswith(opening):
            continue
        inside = text if is_opened else text.lstrip().removeprefix(opening)
        thinking, _, response = inside.partition(closing)
        return thinking.strip(), response.lstrip()
    return "", text


def close_thinking(prompt: str) -> str:
    """Return a prompt after which a response without thinking can stand.

    Where a template opens the thinking at the prompt's end, an empty thought is closed behind it,
    as such models write when they don't think; any other prompt is returned as it is.
    """
    for opening, closing in _MARKS:
        if prompt.rstrip().endswith(opening):
            return f"{prompt.rstrip()}\n\n{closing}\n\n"
    return prompt


def count_responses(table: "pd.DataFrame") -> dict[str, int]:
    """Count what a user should know about responses before they trust them.

    Args:
        table: As `generate_responses` returns it.

    Returns:
        How many are `truncated` at the limit of tokens, `empty` (nothing but white space),
        `looping` at their end, `identical` to an earlier one of the same pole (empty ones are not
        counted again), and how many hold `thinking`.
    """
    texts = table["response"].fillna("").astype(str).str.strip()
    filled = table[texts != ""].assign(response=texts)
    thinking = table["thinking"].fillna("") if "thinking" in table else None
    return {
        "truncated": int((table["finish_reason"] == "length").sum()),
        "empty": int((texts == "").sum()),
        "looping": sum(is_looping(text) for text in texts),
        "identical": int(filled.duplicated(["pole", "response"]).sum()),
        "thinking": 0 if thinking is None else int((thinking != "").sum()),
    }


def is_looping(text: str) -> bool:
    """Whether a text ends in the same piece over and over, the last one perhaps cut off."""
    reverse = text.rstrip()[-_TAIL_CHARS:][::-1]
    # With period p the end agrees with itself p characters earlier, over `agrees[p]` characters.
    agrees = _agreements(reverse)
    return any(
        agrees[p] + p >= max(_LEAST_REPEATS * p, _LEAST_LOOP_CHARS)
        for p in range(1, len(reverse) // _LEAST_REPEATS + 1)
    )


def _agreements(text: str) -> list[int]:
    """For each i, how many characters from i on are those that the text begins with (Z array)."""
    n = len(text)
    found = [0] * n
    left = right = 0
    for i in range(1, n):
        length = min(right - i, found[i - left]) if i < right else 0
        while i + length < n and text[length] == text[i + length]:
            length += 1
        found[i] = length
        if i + length > right:
            left, right = i, i + length
    return found


def _decode(model: LanguageModel, tokens: list[int]) -> str:
    """Text without special tokens, except for the marks of thinking where these are special."""
    tokenizer = cast(Any, model.tokenizer)
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    marks = {mark for pair in _MARKS for mark in pair}
    pieces: list[str] = []
    begin = 0
    for i, token in enumerate(tokens):
        if special.get(token) in marks:
            pieces += [tokenizer.decode(tokens[begin:i], skip_special_tokens=True), special[token]]
            begin = i + 1
    pieces.append(tokenizer.decode(tokens[begin:], skip_special_tokens=True))
    return "".join(pieces)
