"""A linter for trait definitions: what will probably weaken the vector, before anything runs."""

from traitvec_core.validation.finding import Finding, Severity
from traitvec_core.validation.lint.all_rules import lint

__all__ = ["Finding", "Severity", "lint"]
