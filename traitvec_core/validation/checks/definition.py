"""`definition`: can the trait definition be used?"""

import json

from traitvec_core.elicited_by import ElicitedBy, in_words_of
from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.trait import TraitDefinition, parse_definition
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.question_topics import near_duplicates

__all__ = ["check_definition", "evaluate", "list_warnings"]


def evaluate(folder: TraitFolder, settings: ExperimentSettings) -> CheckResult:
    """Evaluate the check on a trait's files."""
    return check_definition(
        folder.read_definition_bytes(), display_path(folder.definition_path), settings.elicitation
    )


def check_definition(
    data: bytes | None, where: str, elicited_by: ElicitedBy = "instructions"
) -> CheckResult:
    """Check that the definition can be used; every problem is in the summary.

    Args:
        data: The file's bytes; None when there is no file.
        where: How to name the file in messages.
        elicited_by: What the experiment needs pairs of.
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
    warnings = list_warnings(definition)
    pairs = in_words_of(elicited_by, f"{n_pairs} instruction pairs")
    counts = f"{pairs}, {len(definition.questions)} questions"
    return CheckResult(
        name="definition",
        verdict="warn" if warnings else "pass",
        summary="; ".join(warnings) or counts,
        figures={
            "instruction_pairs": n_pairs,
            "questions": len(definition.questions),
            "warnings": len(warnings),
        },
    )


def list_warnings(definition: TraitDefinition) -> list[str]:
    """Return the definition's warnings, and one on questions that ask nearly the same thing.

    The latter needs scikit-learn, which parsing a definition must not import.
    """
    warnings = list(definition.warnings)
    for key in ("questions", "eval_questions"):
        pairs = near_duplicates(getattr(definition, key))
        if pairs:
            first, second = (json.dumps(_clip(text), ensure_ascii=False) for text in pairs[0])
            others = f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 1 else ""
            warnings.append(
                f"{key}: {first} and {second} are near-duplicates and are held out"
                f" together{others}; replace one by another topic"
            )
    return warnings


def _clip(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
