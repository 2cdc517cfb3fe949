"""`definition`: can the trait definition be used?"""

from collections import Counter
from collections.abc import Sequence

from traitvec_core.elicited_by import ElicitedBy, in_words_of
from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.trait import parse_definition
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.lint import Finding, lint

__all__ = ["check_definition", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    data = folder.read_definition_bytes()
    where = display_path(folder.definition_path)
    return check_definition(data, where, settings.elicitation, folder.name)


def check_definition(
    data: bytes | None, where: str, elicited_by: ElicitedBy = "instructions", trait: str = ""
) -> CheckResult:
    """Check that the definition can be used; every problem is in the summary.

    Warnings of the linter are in the summary, too; its hints are among the findings alone.

    Args:
        data: The file's bytes; None when there is no file.
        where: How to name the file in messages.
        elicited_by: What the experiment needs pairs of.
        trait: The trait's name, where the definition has none.
    """
    try:
        if data is None:
            raise DefinitionError(where, ["is missing"])
        definition = parse_definition(data, where)
        n_pairs = len(definition.pairs(elicited_by))
    except TraitvecError as error:
        problems = len(error.problems) if isinstance(error, DefinitionError) else 1
        return CheckResult(
            name="definition",
            verdict="fail",
            summary=str(error),
            advice="Fix the file, then materialize `definition` and what follows.",
            figures={"problems": problems},
        )
    findings = lint(definition, trait)
    serious = [finding for finding in findings if finding.severity == "warning"]
    warnings = [*definition.warnings, *_one_line_per_rule(serious)]
    pairs = in_words_of(elicited_by, f"{n_pairs} instruction pairs")
    counts = f"{pairs}, {len(definition.questions)} questions"
    return CheckResult(
        name="definition",
        verdict="warn" if warnings else "pass",
        summary="; ".join(warnings) or counts,
        figures={
            "instruction_pairs": n_pairs,
            "questions": len(definition.questions),
            "warnings": len(definition.warnings) + len(serious),
            "hints": len(findings) - len(serious),
        },
        findings=tuple(findings),
    )


def _one_line_per_rule(findings: Sequence[Finding]) -> list[str]:
    """The first finding of each rule, and how many more there are."""
    counts = Counter(finding.rule for finding in findings)
    lines = []
    for finding in {finding.rule: finding for finding in reversed(findings)}.values():
        others = counts[finding.rule] - 1
        more = f" (and {others} more of {finding.rule})" if others else ""
        lines.append(f"{finding.place}: {finding.reason}{more}")
    return lines[::-1]
