"""Converts generated tokens to a response: finds its end, and splits off the thinking."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, cast

from traitvec_core.generation.request import Generated, Request
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.response_ids import ResponseIds

__all__ = ["close_thinking", "decode_response", "read_tokens", "split_thinking"]

# How models mark their thinking.
_MARKS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
)


def read_tokens(model: LanguageModel, request: Request, tokens: Sequence[int]) -> Generated:
    """Return the response of generated tokens, up to the first end token."""
    ends = set(model.end_token_ids)
    stop = next((i for i, token in enumerate(tokens) if token in ends), None)
    kept = tuple(tokens if stop is None else tokens[:stop])
    text = _decode(model, kept)
    thinking, response = split_thinking(text, request.prompt)
    n_before = len(text) - len(response)
    generated = ResponseIds(kept, _count_tokens(model, kept, n_before) if n_before else 0)
    return Generated(
        name=request.name,
        response=response,
        thinking=thinking,
        prompt_tokens=len(request.ids),
        response_tokens=len(kept),
        finish_reason="length" if stop is None else "stop",
        ids=kept if decode_response(model, generated) == response else None,
        n_thinking=generated.n_thinking,
    )


def decode_response(model: LanguageModel, generated: ResponseIds) -> str:
    """Return the text of generated tokens without thinking, as `read_tokens` returns it."""
    text = _decode(model, generated.ids[generated.n_thinking :])
    return text.lstrip() if generated.n_thinking else text


def split_thinking(text: str, prompt: str = "") -> tuple[str, str]:
    """Split a generated text into thinking and response.

    Args:
        text: The generated text.
        prompt: The prompt; some templates end with the mark that opens the thinking.

    Returns:
        (thinking, response). The response is empty if the text ends while thinking. A text without
        thinking is returned unchanged.
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
    """Return a prompt that a response without thinking can follow.

    If the prompt ends with the mark that opens the thinking, it is closed at once, as such models
    do when they do not think. Any other prompt is returned unchanged.
    """
    for opening, closing in _MARKS:
        if prompt.rstrip().endswith(opening):
            return f"{prompt.rstrip()}\n\n{closing}\n\n"
    return prompt


def _count_tokens(model: LanguageModel, tokens: Sequence[int], n_chars: int) -> int:
    """Return how many tokens lie within the first `n_chars` characters of their text."""
    return bisect_right(
        range(len(tokens)), n_chars, key=lambda i: len(_decode(model, tokens[: i + 1]))
    )


def _decode(model: LanguageModel, tokens: Sequence[int]) -> str:
    """Return the text without special tokens, except those that mark thinking."""
    tokenizer = cast(Any, model.tokenizer)
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    marks = {mark for pair in _MARKS for mark in pair}
    kept = list(tokens)
    pieces: list[str] = []
    begin = 0
    for i, token in enumerate(kept):
        if special.get(token) in marks:
            pieces += [tokenizer.decode(kept[begin:i], skip_special_tokens=True), special[token]]
            begin = i + 1
    pieces.append(tokenizer.decode(kept[begin:], skip_special_tokens=True))
    return "".join(pieces)
