"""Read a definition of a persona-vectors folder, with its evaluation questions."""

import json
from pathlib import Path
from typing import Any

from traitvec_core.errors import DefinitionError
from traitvec_core.exchange.persona_folder import LeftOut, PersonaFiles
from traitvec_core.storage.files import display_path
from traitvec_core.trait import TraitDefinition, parse_definition
from traitvec_core.user_files import MAX_DEFINITION_BYTES, parse_json, read_file

__all__ = ["read_definition"]


def read_definition(
    trait: str, files: PersonaFiles
) -> tuple[bytes, TraitDefinition, list[LeftOut]]:
    """Return a definition's bytes and content, with the evaluation's questions, and what is wrong.

    Evaluation questions that are objects, or that the definition asks too, are left out: the first
    are no text, the second are not held out.

    Args:
        trait: The trait.
        files: Its files.

    Raises:
        DefinitionError: If the definition is not valid.
    """
    where = display_path(files.definition)
    data = read_file(files.definition, where, MAX_DEFINITION_BYTES)
    definition = parse_definition(data, where)
    if files.evaluation is None or definition.eval_questions:
        return data, definition, []
    where = display_path(files.evaluation)
    try:
        questions, left_out = _held_out(trait, files.evaluation, definition.questions)
        if not questions:
            return data, definition, left_out
        merged = {**json.loads(data.decode("utf-8-sig")), "eval_questions": questions}
        new = (json.dumps(merged, indent=2, ensure_ascii=False) + "\n").encode()
        return new, parse_definition(new, where), left_out
    except DefinitionError as error:
        why = f"evaluation questions: {error.problems[0]}"
        return data, definition, [LeftOut(trait, where, why)]


def _held_out(trait: str, path: Path, asked: list[str]) -> tuple[list[str], list[LeftOut]]:
    """Return the evaluation questions that can be used, and the others."""
    where = display_path(path)
    raw = parse_json(read_file(path, where, MAX_DEFINITION_BYTES), where, MAX_DEFINITION_BYTES)
    listed = raw.get("questions") if isinstance(raw, dict) else None
    if not isinstance(listed, list):
        raise DefinitionError(where, ["has no list of questions"])
    texts = [item for item in listed if isinstance(item, str)]
    kept = [text for text in texts if text not in set(asked)]
    left_out = []
    if len(texts) < len(listed):
        first = _kind(next(item for item in listed if not isinstance(item, str)))
        left_out.append(
            (len(listed) - len(texts), f"are no text (the first is {first}); write them as strings")
        )
    if len(kept) < len(texts):
        left_out.append(
            (len(texts) - len(kept), "are asked by the definition too, so they are not held out")
        )
    what = f"of {len(listed)} evaluation questions"
    return kept, [LeftOut(trait, where, f"{n} {what} {why}") for n, why in left_out]


def _kind(item: Any) -> str:
    return "an object" if isinstance(item, dict) else f"a JSON {type(item).__name__}"
