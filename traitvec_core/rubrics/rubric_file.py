"""A rubric in a file: a text with `{question}` and `{answer}`, or a trait definition."""

from traitvec_core.errors import TraitvecError
from traitvec_core.trait import FORM_GAP, parse_definition
from traitvec_core.user_files import MAX_DEFINITION_BYTES, parse_text

__all__ = ["parse_rubric"]

# As for a rubric in a definition.
_MOST_CHARS = 20_000


def parse_rubric(data: bytes, where: str) -> str:
    """Read a rubric.

    Args:
        data: The file's bytes, UTF-8: a definition if it is a JSON object, else the rubric itself.
        where: The file's name in messages.

    Raises:
        TraitvecError: If it is no text, the definition is invalid, or a placeholder is missing.
    """
    text = parse_text(data, where, MAX_DEFINITION_BYTES)
    if text.lstrip().startswith("{") and '"eval_prompt"' in text:
        return parse_definition(data, where).eval_prompt
    # Editors end a file with a line break, which belongs to no rubric.
    rubric = text.strip()
    if not rubric:
        raise TraitvecError(f"{where} is empty; write a rubric with {{question}} and {{answer}}")
    missing = [name for name in ("{question}", "{answer}") if name not in rubric]
    if missing:
        raise TraitvecError(
            f"{where}: the rubric has no {' and no '.join(missing)}; add it where the judge should"
            " read that text"
        )
    if FORM_GAP in rubric:
        raise TraitvecError(f"{where} still says {FORM_GAP!r}; complete the rubric")
    if len(rubric) > _MOST_CHARS:
        raise TraitvecError(
            f"{where} is {len(rubric):,} characters long; the limit is {_MOST_CHARS:,}"
        )
    return rubric
