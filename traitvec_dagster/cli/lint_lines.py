"""The linter's findings on the terminal: by rule, worst first, long lists folded."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.terminal import out

if TYPE_CHECKING:
    from traitvec_core.trait import TraitDefinition
    from traitvec_core.validation.finding import Finding

__all__ = ["print_weaknesses"]

_MOST_PLACES = 3
_STYLES = {"warning": "yellow", "hint": "cyan"}


def print_weaknesses(
    trait: str,
    definition: "TraitDefinition",
    findings: "Sequence[Finding]",
    *,
    show_all: bool = False,
    accepted: str = "",
) -> None:
    """Print what a definition's author should look at; nothing if there is nothing.

    Args:
        trait: The trait's name.
        definition: Its definition, whose warnings come first.
        findings: As `lint` returns them.
        show_all: Print every place, not only the first three of a rule, and accepted findings.
        accepted: Why the owner accepts the findings; empty if they are not accepted.
    """
    name = one_line(trait)
    for warning in definition.warnings:
        out.print(Text.assemble(f"{name}: ", ("note:", "yellow"), f" {one_line(warning)}"))
    if not findings:
        return
    summary = _count_findings(findings)
    if accepted and not show_all:
        out.print(Text(f"{name}: {summary}, accepted ({one_line(accepted)}); --all shows them"))
        return
    out.print(Text(f"{name}: {summary}"))
    _print_findings(findings, show_all=show_all)


def _count_findings(findings: "Sequence[Finding]") -> str:
    """Return `1 warning, 3 hints`; empty without findings."""
    counts = {kind: sum(f.severity == kind for f in findings) for kind in _STYLES}
    return ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in counts.items() if n)


def _print_findings(findings: "Sequence[Finding]", *, show_all: bool) -> None:
    """Print findings by rule: the rule with its fix, then each place with the reason."""
    # Sorted by rule within a severity; `sorted` keeps the file's order within a rule.
    order = {rule: index for index, rule in enumerate(dict.fromkeys(f.rule for f in findings))}
    for _, group in groupby(sorted(findings, key=lambda f: order[f.rule]), lambda f: f.rule):
        of_rule = list(group)
        first = of_rule[0]
        mark = (f"{first.severity}:", _STYLES[first.severity])
        out.print(Text.assemble("  ", mark, f" {first.rule}: {first.fix}"))
        shown = of_rule if show_all else of_rule[:_MOST_PLACES]
        for finding in shown:
            out.print(Text(f"    {finding.place}: {one_line(finding.reason)}"))
        if len(of_rule) > len(shown):
            out.print(Text(f"    and {len(of_rule) - len(shown)} more (--all shows them)"))
