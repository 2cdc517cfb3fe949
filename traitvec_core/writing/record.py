"""Where a drafted definition is from: the key `draft` of the definition."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traitvec_core.trait import TraitDefinition
from traitvec_core.visible_text import one_line

__all__ = ["DraftRecord", "add_revision", "describe_draft", "draft_record"]


class DraftRecord(BaseModel):
    """Where a draft is from.

    It is written into the definition and stays there when a user edits the rest.

    Attributes:
        by: What drafts; always `traitvec`.
        sentence: What the user described the trait with.
        model: The writer.
        provider: Its provider.
        server: Its server; empty for the provider's own, and for a model in this process.
        prompt_version: Version of our prompts.
        seed: The seed; not every provider has one.
        date: When the draft was complete, UTC.
        calls: Answers of the writer, unusable ones included.
        tokens_in: Input tokens of all calls.
        tokens_out: Output tokens of all calls.
        usd: What the calls cost; None if the price is unknown.
        replaced: Places whose first texts the linter named, and whose texts are now others of the
            same writer: `questions[3]`.
        content: Hash of the definition as it was drafted.
    """

    model_config = ConfigDict(extra="ignore")

    by: Literal["traitvec"] = "traitvec"
    sentence: str
    model: str
    provider: str
    server: str
    prompt_version: int
    seed: int
    date: str
    calls: int
    tokens_in: int
    tokens_out: int
    usd: float | None
    replaced: list[str] = Field(default_factory=list)
    content: str


def draft_record(definition: TraitDefinition) -> DraftRecord | None:
    """Return where a definition is from; None if it was not drafted, or its key was mangled."""
    if definition.draft is None:
        return None
    try:
        return DraftRecord.model_validate(definition.draft)
    except ValidationError:
        return None


def add_revision(raw: dict[str, Any], record: Mapping[str, Any]) -> None:
    """Add what was changed, and by what, to `draft.revisions` of a definition's JSON.

    A `draft`, or `revisions` in it, of another shape is some other tool's, and stays as it is.
    """
    draft = raw.get("draft", {})
    revisions = draft.get("revisions", []) if isinstance(draft, dict) else None
    if isinstance(revisions, list):
        raw["draft"] = {**draft, "revisions": [*revisions, dict(record)]}


def describe_draft(definition: TraitDefinition) -> str | None:
    """Return one line on where a definition is from; None if the user wrote all of it."""
    record = draft_record(definition)
    revised = _describe_revisions(definition)
    if record is None:
        return revised or None
    is_edited = record.content != definition.content_hash
    after = "edited since" if is_edited else "unedited; read it before you rely on it"
    return one_line(f"drafted by {record.model} on {record.date[:10]}, {revised or after}")


def _describe_revisions(definition: TraitDefinition) -> str:
    revisions = (definition.draft or {}).get("revisions")
    if not isinstance(revisions, list):
        return ""
    added = [item for item in revisions if isinstance(item, dict) and item.get("added")]
    n_revised = len(revisions) - len(added)
    parts = [f"{item['added']} by {item.get('model')}" for item in added]
    if n_revised:
        parts.append(f"revised {n_revised} time{'s' if n_revised > 1 else ''} by `try`")
    return one_line(", ".join(parts))
