"""What the linter reports."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["warning", "hint"]


@dataclass(frozen=True)
class Finding:
    """One weakness of a definition; it never blocks.

    Attributes:
        place: Where, as the file's keys: `instruction[3].pos`, `questions[0]`, `eval_prompt`.
        rule: The rule's name, in `snake_case`.
        severity: `warning` for what is likely to change the vector or the scores, else `hint`.
        reason: What is there, and why it matters, in one sentence.
        fix: What to do, in one sentence; the same for all findings of a rule.
    """

    place: str
    rule: str
    severity: Severity
    reason: str
    fix: str
