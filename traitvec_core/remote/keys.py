"""API keys and other secrets of the environment, and how they are kept out of messages."""

import os
import re

from traitvec_core.errors import TraitvecError

__all__ = ["key_from_environment", "redacted", "secrets_in_environment"]

# Secrets by name. Any other variable whose name ends like one is a secret too.
_SECRET_NAMES = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "JUDGE_API_KEY",
    "GENERATION_API_KEY",
    "HF_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    # The address is the secret: anyone who has it can post.
    "TRAITVEC_WEBHOOK_URL",
)
_SECRET_ENDINGS = ("_API_KEY", "_ADMIN_KEY", "_TOKEN", "_PASSWORD", "_SECRET")
_SHORTEST_SECRET = 4
# An API key of a service that traitvec does not use may be a placeholder such as "EMPTY".
_SHORTEST_OTHER_SECRET = 12
# Keys by their shape, including the half of one that a server echoes.
_KEY_LIKE = re.compile(r"\b(sk|pk|hf|gsk|xai)[-_][\w*.\-]{4,}|(?i:bearer)\s+\S+")


def key_from_environment(name: str) -> str | None:
    """Return a key, or None when the variable is not set.

    Raises:
        TraitvecError: If the value cannot be a key; an HTTP library would print it in its error.
    """
    key = os.environ.get(name, "").strip()
    if key and not re.fullmatch(r"[!-~]+", key):
        raise TraitvecError(
            f"{name} contains a character that no key has (a space, a line break or a non-ASCII"
            " letter); copy the key again"
        )
    return key or None


def secrets_in_environment() -> list[str]:
    """Return the values of all secrets that are set, longest first."""
    named = {os.environ.get(name, "").strip() for name in _SECRET_NAMES}
    other = {value.strip() for name, value in os.environ.items() if name.endswith(_SECRET_ENDINGS)}
    secrets = {secret for secret in named if len(secret) >= _SHORTEST_SECRET}
    secrets |= {secret for secret in other if len(secret) >= _SHORTEST_OTHER_SECRET}
    return sorted(secrets, key=len, reverse=True)


def redacted(text: str) -> str:
    """Return a text with all keys replaced: those of the environment, and what looks like one."""
    for secret in secrets_in_environment():
        text = text.replace(secret, "[key]")
    return _KEY_LIKE.sub("[key]", text)
