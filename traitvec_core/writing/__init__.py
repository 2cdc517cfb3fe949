"""From a sentence to a trait definition: a model drafts it, and every answer is checked."""

from traitvec_core.settings.drafting import DEFAULT_MAX_USD
from traitvec_core.writing.draft import TraitDraft, check_sentence, draft_trait
from traitvec_core.writing.estimate import DraftEstimate, estimate_draft
from traitvec_core.writing.load import NoWriterError, load_writer
from traitvec_core.writing.record import DraftRecord, describe_draft, draft_record
from traitvec_core.writing.scenarios import AddedScenarios, add_scenarios, check_needs_scenarios
from traitvec_core.writing.writer import Writer

__all__ = [
    "DEFAULT_MAX_USD",
    "AddedScenarios",
    "DraftEstimate",
    "DraftRecord",
    "NoWriterError",
    "TraitDraft",
    "Writer",
    "add_scenarios",
    "check_needs_scenarios",
    "check_sentence",
    "describe_draft",
    "draft_record",
    "draft_trait",
    "estimate_draft",
    "load_writer",
]
