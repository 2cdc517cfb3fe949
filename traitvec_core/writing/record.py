"""Where a drafted definition is from: the key `draft` of the definition."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from traitvec_core.trait import TraitDefinition
from traitvec_core.visible_text import one_line

__all__ = ["DraftRecord", "describe_draft", "draft_record"]


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
    content: str


def draft_record(definition: TraitDefinition) -> DraftRecord | None:
    """Return where a definition is from; None if it was not drafted, or its key was mangled."""
    if definition.draft is None:
        return None
    try:
        return DraftRecord.model_validate(definition.draft)
    except ValidationError:
        return None


def describe_draft(definition: TraitDefinition) -> str | None:
    """Return one line on where a definition is from; None if the user wrote all of it."""
    record = draft_record(definition)
    revisions = (definition.draft or {}).get("revisions")
    n_revisions = len(revisions) if isinstance(revisions, list) else 0
    revised = f"revised {n_revisions} time{'s' if n_revisions > 1 else ''} by `try`"
    if record is None:
        return revised if n_revisions else None
    is_edited = record.content != definition.content_hash
    after = "edited since" if is_edited else "unedited; read it before you rely on it"
    after = revised if n_revisions else after
    return one_line(f"drafted by {record.model} on {record.date[:10]}, {after}")
