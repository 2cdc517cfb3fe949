"""`definition`: can the trait definition be used?"""

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.trait import parse_definition
from traitvec_core.validation.checks.result import CheckResult

__all__ = ["check_definition", "evaluate"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    return check_definition(folder.read_definition_bytes(), display_path(folder.definition_path))


def check_definition(data: bytes | None, where: str) -> CheckResult:
    """Check that the definition can be used; every problem is in the summary.

    Args:
        data: The file's bytes; None when there is no file.
        where: How to name the file in messages.
    """
    try:
        if data is None:
            raise DefinitionError(where, ["is missing"])
        definition = parse_definition(data, where)
    except TraitvecError as error:
        problems = len(error.problems) if isinstance(error, DefinitionError) else 1
        return CheckResult(
            name="definition",
            verdict="fail",
            summary=str(error),
            advice="Fix the file, then materialize `definition` and what follows.",
            figures={"problems": problems},
        )
    counts = (
        f"{len(definition.instruction)} instruction pairs, {len(definition.questions)} questions"
    )
    return CheckResult(
        name="definition",
        verdict="warn" if definition.warnings else "pass",
        summary="; ".join(definition.warnings) or counts,
        figures={
            "instruction_pairs": len(definition.instruction),
            "questions": len(definition.questions),
            "warnings": len(definition.warnings),
        },
    )
