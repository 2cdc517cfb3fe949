"""Scenarios for a trait that has none."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.settings.drafting import DEFAULT_MAX_USD
from traitvec_core.settings.trait_form import dump_definition
from traitvec_core.storage.files import DEFINITION_FILE, display_path
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.trait_folder import TraitFolder
from traitvec_core.storage.trait_lock import changing_trait
from traitvec_core.trait import TraitDefinition, parse_definition
from traitvec_core.writing.answers import Scenarios
from traitvec_core.writing.asking import kept_or_asked
from traitvec_core.writing.draft import check_terms
from traitvec_core.writing.load import load_writer
from traitvec_core.writing.parts import Part, scenarios_part
from traitvec_core.writing.prompts import PROMPT_VERSION
from traitvec_core.writing.record import add_revision
from traitvec_core.writing.rewording import described
from traitvec_core.writing.second_look import replace_weak
from traitvec_core.writing.unfinished import draft_key, remove_draft, unfinished_draft
from traitvec_core.writing.writer import Writer

__all__ = ["AddedScenarios", "add_scenarios", "check_needs_scenarios"]


@dataclass(frozen=True)
class AddedScenarios:
    """Scenarios that were written into a definition.

    Attributes:
        definition: The definition as it is now.
        record: What wrote them, when and at what cost; also in the definition, under
            `draft.revisions`.
    """

    definition: TraitDefinition
    record: dict[str, Any]


def add_scenarios(
    folder: TraitFolder,
    writer: Writer | str,
    *,
    max_usd: float = DEFAULT_MAX_USD,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> AddedScenarios:
    """Let a model write ten pairs of openings into the definition of a trait that has none.

    All else in the definition stays, and so do the results of an experiment that elicits by
    instructions. An interrupted call goes on.

    Args:
        folder: The trait's folder.
        writer: The model: its name, or one from `load_writer`.
        max_usd: The most that it may cost, over all attempts and interruptions.
        seed: Another seed gives other scenarios. Not every provider has one.
        say: Called with a line about progress.

    Raises:
        TraitvecError: If the definition cannot be read or has scenarios, another process works in
            the trait, the writer's answers stay faulty or the budget is spent.
    """
    terms = check_terms(max_usd, seed)
    check_needs_scenarios(folder)
    if isinstance(writer, str):
        writer = load_writer(writer, say=say)
    experiment = ExperimentFolder(folder.path.parent.parent, folder.path.parent.name)
    with changing_trait(folder.path, "new scenarios", "cannot be changed now"):
        _, definition = _read(folder)
        part = _part(definition)
        title = f"scenarios of {folder.name}"
        key = draft_key(f"{title}\n{part.prompt('', {})}", writer, seed)
        with unfinished_draft(title, key, experiment) as draft:
            answer: Scenarios = kept_or_asked(part, writer, draft, terms, say)
            raw = _with_scenarios(_read(folder)[0], answer.model_dump()["scenarios"])
            replaced = replace_weak(
                raw, folder.name, writer, draft, terms, say, keys=("scenarios",)
            )
            tokens_in, tokens_out = draft.tokens
            record = {
                "by": "traitvec", "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "model": writer.name, "provider": writer.provider, "server": writer.address,
                "prompt_version": PROMPT_VERSION, "seed": seed, "added": "scenarios",
                "replaced": replaced, "calls": draft.calls, "tokens_in": tokens_in,
                "tokens_out": tokens_out,
                "usd": None if draft.usd is None else round(draft.usd, 6),
            }  # fmt: skip
            # The file may have been edited while the writer was writing.
            raw = _with_scenarios(_read(folder)[0], raw["scenarios"])
            add_revision(raw, record)
            data = dump_definition(raw).encode()
            written = parse_definition(data, display_path(folder.definition_path))
            folder.write(DEFINITION_FILE, data)
        remove_draft(key, experiment)
    return AddedScenarios(written, record)


def check_needs_scenarios(folder: TraitFolder) -> None:
    """Check that a trait's definition can be read and has no scenarios.

    Raises:
        TraitvecError: If it cannot, or has some.
    """
    _read(folder)


def _read(folder: TraitFolder) -> tuple[dict[str, Any], TraitDefinition]:
    """Return a definition without scenarios: its JSON, and the same read."""
    definition = folder.definition()
    if definition.scenarios:
        raise TraitvecError(
            f"{display_path(folder.definition_path)} has scenarios already; `traitvec try --revise`"
            " rewords those that elicit nothing, or delete the key for new ones"
        )
    raw: dict[str, Any] = json.loads(folder.read_definition_bytes().decode("utf-8-sig"))
    return raw, definition


def _part(definition: TraitDefinition) -> Part:
    return scenarios_part(
        lambda finished: described(definition), lambda finished: definition.instruction
    )


def _with_scenarios(raw: dict[str, Any], scenarios: list[Any]) -> dict[str, Any]:
    """Return a definition's JSON with scenarios behind the instructions, or where the key is."""
    if "scenarios" in raw:
        return {**raw, "scenarios": scenarios}
    items = list(raw.items())
    place = list(raw).index("instruction") + 1
    return dict([*items[:place], ("scenarios", scenarios), *items[place:]])
