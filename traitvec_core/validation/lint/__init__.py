"""A linter for trait definitions: what will probably weaken the vector, before anything runs."""

from traitvec_core.validation.lint.all_rules import lint
from traitvec_core.validation.lint.finding import Finding, Severity

__all__ = ["Finding", "Severity", "lint"]
