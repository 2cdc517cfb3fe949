"""What the answer REFUSAL means: a missing score, or the highest one for a trait about refusing."""

from dataclasses import replace

from traitvec_core.judging.reading import ANSWERED_REFUSAL, Judgement
from traitvec_core.trait import TraitDefinition

__all__ = ["is_about_refusing", "refusal_as_score"]


def is_about_refusing(name: str, definition: TraitDefinition) -> bool:
    """Whether the judge's answer REFUSAL describes the trait itself."""
    return any("refus" in text.lower() for text in (name, definition.name))


def refusal_as_score(judgement: Judgement) -> Judgement:
    """Return the highest score for the answer REFUSAL; other judgements stay."""
    if judgement.reason != ANSWERED_REFUSAL:
        return judgement
    return replace(judgement, score=100.0, status="ok", reason="")
