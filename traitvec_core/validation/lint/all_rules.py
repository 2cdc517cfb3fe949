"""All rules on one definition, worst first."""

from traitvec_core.trait import TraitDefinition
from traitvec_core.validation.finding import Finding
from traitvec_core.validation.lint.differences import find_differences
from traitvec_core.validation.lint.poles import find_weak_poles
from traitvec_core.validation.lint.questions import find_weak_questions
from traitvec_core.validation.lint.rubric import find_weak_rubric
from traitvec_core.validation.lint.subject import subject_of

__all__ = ["lint"]

_FAMILIES = (find_weak_poles, find_differences, find_weak_rubric, find_weak_questions)


def lint(definition: TraitDefinition, name: str = "") -> list[Finding]:
    """Return a definition's weaknesses: warnings first, then hints, each in the file's order.

    Rules that read words are for English; other languages get only the findings that need none.

    Args:
        definition: A definition that `parse_definition` accepts.
        name: The trait's name, where the definition has none: that of its folder.
    """
    subject = subject_of(definition, name)
    findings = [finding for find in _FAMILIES for finding in find(definition, subject)]
    return sorted(findings, key=lambda finding: finding.severity != "warning")
