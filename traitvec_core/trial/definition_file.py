"""Changes of a definition file; every earlier version stays beside it, under a number."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from traitvec_core.elicited_by import PAIRS_KEY, ElicitedBy
from traitvec_core.errors import TraitvecError
from traitvec_core.settings.trait_form import dump_definition
from traitvec_core.storage.files import DEFINITION_FILE, EARLIER_DEFINITION, display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.trait import parse_definition
from traitvec_core.writing.record import add_revision
from traitvec_core.writing.rewording import NewTexts, put_texts

__all__ = ["changed_definition", "replace_definition"]

_STEM = DEFINITION_FILE.removesuffix(".json")


def changed_definition(
    folder: TraitFolder,
    elicited_by: ElicitedBy,
    *,
    new: NewTexts | None = None,
    without_pairs: Collection[int] = (),
    without_questions: Collection[int] = (),
    record: Mapping[str, Any],
) -> bytes:
    """Return a trait's definition with other texts, or without some; all else stays as it is.

    Args:
        folder: The trait's folder.
        elicited_by: Whose pairs change.
        new: New texts.
        without_pairs: Numbers of pairs to leave out.
        without_questions: Numbers of questions to leave out.
        record: What was changed, and by what; see `add_revision`.

    Raises:
        TraitvecError: If what is left is no definition.
    """
    raw = json.loads(folder.read_definition_bytes().decode("utf-8-sig"))
    key = PAIRS_KEY[elicited_by]
    put_texts(raw, new or {})
    raw[key] = [pair for n, pair in enumerate(raw[key]) if n not in without_pairs]
    raw["questions"] = [q for n, q in enumerate(raw["questions"]) if n not in without_questions]
    add_revision(raw, record)
    data = dump_definition(raw).encode()
    if without_pairs or without_questions:
        for kept, name in ((raw[key], "pair"), (raw["questions"], "question")):
            if len(kept) < 2:
                raise TraitvecError(
                    f"{display_path(folder.definition_path)}: nothing is dropped, because fewer"
                    f" than two {name}s would be left; reword them (--revise, or by hand)"
                )
    parse_definition(data, "the revised definition").pairs(elicited_by)
    return data


def replace_definition(folder: TraitFolder, data: bytes) -> str:
    """Replace a trait's definition in one step; returns the name of the earlier one beside it.

    The earlier one is on disk under its number before anything is replaced.
    """
    now = folder.read_definition_bytes()
    numbers = [
        int(match[1])
        for path in folder.path.glob(f"{_STEM}.*.json")
        if (match := EARLIER_DEFINITION.fullmatch(path.name))
    ]
    last = f"{_STEM}.{max(numbers, default=0)}.json"
    name = f"{_STEM}.{max(numbers, default=0) + 1}.json"
    if numbers and folder.read(last) == now:
        # A process was killed between the two writes.
        name = last
    else:
        folder.write(name, now)
    folder.write(DEFINITION_FILE, data)
    return name
