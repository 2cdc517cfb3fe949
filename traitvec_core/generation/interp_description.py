"""What a server says about itself, checked: it may be broken, or another program."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Description", "read_description"]

# A server is spared more, and so are this process's file descriptors.
_MOST_CALLS_AT_ONCE = 512
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Description:
    """What a server serves.

    Attributes:
        model: The model's name there.
        n_blocks: Its decoder blocks.
        hidden_dim: Width of its residual stream.
        revision: The commit on the hub, where it is known.
        dtype: Of the weights, where it is known.
        backend: What runs them.
        max_model_len: Longest prompt with its response, in tokens.
        calls_at_once: Requests that it runs at once.
        has_means: Whether it averages activations itself.
    """

    model: str
    n_blocks: int
    hidden_dim: int
    revision: str | None
    dtype: str | None
    backend: str
    max_model_len: int
    calls_at_once: int
    has_means: bool


def read_description(answer: Mapping[str, Any], own: Mapping[str, Any]) -> Description:
    """Return the description in the answers of `/v1/describe` and `/v1/traitvec`.

    Args:
        answer: Of interp-engine's `/v1/describe`.
        own: Of `/v1/traitvec`; empty for a server without it.

    Raises:
        ValueError: If something is missing, or cannot be right.
    """
    try:
        shape, limits = answer["description"], answer["limits"]
        dtype = _text(own.get("dtype") or answer["load"]["dtype"])
        return Description(
            model=_text(own.get("model") or shape["hf_model_id"]),
            n_blocks=_count(shape["n_layers"]),
            hidden_dim=_count(shape["d_model"]),
            revision=None if own.get("revision") is None else _text(own["revision"]),
            dtype=None if dtype == "auto" else dtype,
            backend=_text(
                own.get("backend")
                or f"{shape['backend']}, interp-engine {answer['engine_version']}"
            ),
            max_model_len=_count(own.get("max_model_len") or limits["max_prompt_tokens"]),
            calls_at_once=min(_count(limits["max_concurrency"]), _MOST_CALLS_AT_ONCE),
            has_means=bool(own),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None


def _count(value: Any) -> int:
    # Not a boolean, nor a float that may be infinite.
    if type(value) is not int or value < 1:
        raise ValueError("not a number above zero")
    return value


def _text(value: Any) -> str:
    # It is shown and recorded.
    if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_TEXT:
        raise ValueError("not a short text")
    return value
