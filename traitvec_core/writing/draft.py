"""From a sentence to a trait definition."""

import json
import math
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
from traitvec_core.trait import FORM_GAP, TraitDefinition, check_name, parse_definition
from traitvec_core.visible_text import visible
from traitvec_core.writing.asking import Terms, ask_for_part, finished_part
from traitvec_core.writing.load import load_writer
from traitvec_core.writing.parts import PARTS, definition_text
from traitvec_core.writing.prompts import PROMPT_VERSION
from traitvec_core.writing.record import DraftRecord
from traitvec_core.writing.second_look import replace_weak
from traitvec_core.writing.unfinished import (
    UnfinishedDraft,
    draft_key,
    remove_draft,
    remove_outdated,
    unfinished_draft,
)
from traitvec_core.writing.writer import Writer

__all__ = ["TraitDraft", "check_sentence", "check_terms", "draft_trait"]

_MOST_SENTENCE_CHARS = 2000
# The most that a seed of the providers and of the local model can be, less the attempts.
_MOST_SEED = 2**31 - 100


@dataclass(frozen=True)
class TraitDraft:
    """A complete draft.

    Attributes:
        name: The trait's name.
        text: The definition file.
        definition: The same, read.
        record: Where it is from; also in the definition, under `draft`.
        key: Names what is kept of the draft until it is written.
    """

    name: str
    text: str
    definition: TraitDefinition
    record: DraftRecord
    key: str

    def write(self, experiment: ExperimentFolder, *, replace: bool = False) -> TraitFolder:
        """Write the definition into an experiment, in one step, and return the trait's folder.

        Args:
            experiment: The experiment.
            replace: Whether an existing definition is replaced.

        Raises:
            TraitvecError: If the trait exists and is not to be replaced, or a process works in it.
                The draft is kept then, where the experiment keeps it.
        """
        folder = experiment.trait(self.name)
        if folder.definition_path.exists() and not replace:
            raise TraitvecError(
                f"{display_path(folder.definition_path)} exists already; replace it (--force) or"
                " give another name (--trait): the draft is kept and costs nothing again"
            )
        with changing_trait(folder.path, "a new definition", "cannot be replaced now"):
            folder.write(DEFINITION_FILE, self.text.encode())
        remove_draft(self.key, experiment)
        return folder


def draft_trait(
    sentence: str,
    writer: Writer | str,
    *,
    name: str | None = None,
    max_usd: float = DEFAULT_MAX_USD,
    seed: int = 0,
    experiment: ExperimentFolder | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> TraitDraft:
    """Let a model draft a trait definition from one sentence.

    In four requests: description and rubric, ten pairs of instructions, 40 questions (20 to
    extract, 20 held out for steering), ten scenarios. Faulty answers are asked for again with the
    fault named, at most three times each. Where the linter names pairs, questions or scenarios of
    the result, the writer is asked once for others, and those with fewer findings are kept. Read
    the result before you use it.

    Args:
        sentence: The trait in a sentence, such as "flatters the user and agrees with whatever they
            claim".
        writer: The model: its name (`gpt-6.1-terra`, `claude-…`, a Hugging Face id), or one from
            `load_writer`.
        name: The trait's name; by default the writer's.
        max_usd: The most that the draft may cost, over all attempts and interruptions. Not enforced
            where the writer's price is unknown.
        seed: Another seed gives another draft. Not every provider has one.
        experiment: Keeps each finished part at once, so that an interrupted draft goes on. By
            default nothing is written.
        say: Called with a line about progress.

    Returns:
        The draft; nothing of the trait is written yet.

    Raises:
        TraitvecError: If the sentence is empty, the writer cannot be used, its answers stay faulty
            or the budget is spent. Finished parts are kept in the experiment.
    """
    sentence = check_sentence(sentence)
    if name is not None:
        check_name("trait", name)
    terms = check_terms(max_usd, seed)
    if isinstance(writer, str):
        writer = load_writer(writer, say=say)
    if experiment is not None and remove_outdated(sentence, writer, seed, experiment):
        say("the unfinished draft of an earlier version starts over, with new prompts")
    key = draft_key(sentence, writer, seed)
    with unfinished_draft(sentence, key, experiment) as draft:
        finished: dict[str, Any] = {}
        for number, part in enumerate(PARTS, 1):
            place = f"{number}/{len(PARTS)} {part.title}"
            kept = finished_part(part, finished, draft)
            if kept is not None:
                finished[part.name] = kept
                say(f"{place}: kept from before")
                continue
            say(f"{place} …")
            finished[part.name], n_faulty = ask_for_part(
                part, sentence, finished, writer, draft, terms, say
            )
            faulty = f", {n_faulty} unusable before it" if n_faulty else ""
            say(f"{place}: done{faulty}{_spent(draft)}")
        name = name or str(finished["outline"].name)
        raw = json.loads(definition_text(name, finished))
        replaced = replace_weak(raw, name, writer, draft, terms, say)
        return _complete(sentence, raw, replaced, writer, draft, seed)


def check_terms(max_usd: float, seed: int) -> Terms:
    """Return what a writer may cost, and its seed.

    Raises:
        TraitvecError: If either is no such number.
    """
    if not 0 <= seed <= _MOST_SEED:
        raise TraitvecError(f"seed {seed}: give a number from 0 to {_MOST_SEED}")
    if not (math.isfinite(max_usd) and max_usd >= 0):
        raise TraitvecError(f"max_usd {max_usd}: give an amount in dollars, such as 1.00")
    return Terms(max_usd, seed)


def check_sentence(sentence: str) -> str:
    """Return the sentence on one line.

    Raises:
        TraitvecError: If it is empty, too long, or has characters that cannot be seen.
    """
    flat = " ".join(sentence.split())
    if not any(map(str.isalnum, flat)):
        raise TraitvecError(
            'the sentence is empty; describe the trait, such as "flatters the user and agrees with'
            ' whatever they claim"'
        )
    if len(flat) > _MOST_SENTENCE_CHARS:
        raise TraitvecError(
            f"the sentence has {len(flat):,} characters; shorten it to {_MOST_SENTENCE_CHARS:,}"
        )
    if FORM_GAP in flat:
        # A definition with this text counts as a form that is not filled in.
        raise TraitvecError(f"the sentence contains {FORM_GAP!r}; write what the trait is instead")
    if visible(flat) != flat:
        raise TraitvecError(
            f"the sentence contains an invisible character ({visible(flat)[:80]!r}); retype it"
        )
    return flat


def _spent(draft: UnfinishedDraft) -> str:
    return "" if draft.usd is None else f" (${draft.usd:.4f} so far)"


def _complete(
    sentence: str,
    raw: dict[str, Any],
    replaced: list[str],
    writer: Writer,
    draft: UnfinishedDraft,
    seed: int,
) -> TraitDraft:
    tokens_in, tokens_out = draft.tokens
    record = DraftRecord(
        sentence=sentence,
        model=writer.name,
        provider=writer.provider,
        server=writer.address,
        prompt_version=PROMPT_VERSION,
        seed=seed,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        calls=draft.calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usd=None if draft.usd is None else round(draft.usd, 6),
        replaced=replaced,
        content=_parsed(dump_definition(raw)).content_hash,
    )
    text = dump_definition({**raw, "draft": record.model_dump()})
    return TraitDraft(str(raw["name"]), text, _parsed(text), record, draft.key)


def _parsed(text: str) -> TraitDefinition:
    return parse_definition(text.encode(), "the draft")
