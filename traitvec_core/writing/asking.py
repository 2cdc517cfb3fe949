"""Asks for one part of a draft until the answer is valid, within the budget."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.remote.sdk_errors import clipped
from traitvec_core.writing.answer_reading import (
    FaultError,
    check_answer,
    read_answer,
    schema_of,
)
from traitvec_core.writing.parts import Finished, Part
from traitvec_core.writing.prompts import ask_again
from traitvec_core.writing.unfinished import UnfinishedDraft
from traitvec_core.writing.writer import Question, Unusable, Writer

__all__ = [
    "MOST_ATTEMPTS",
    "FaultyAnswersError",
    "Terms",
    "ask_for_part",
    "finished_part",
    "kept_or_asked",
    "question_for",
]

MOST_ATTEMPTS = 4
# An answer that is still cut off with four times its room will not end.
_MOST_ROOM = 4
# A fault quotes the answer, and is part of the next prompt and of messages.
_MOST_FAULT_CHARS = 300


class FaultyAnswersError(TraitvecError):
    """A writer has answered as often as it may, and no answer could be used."""


@dataclass(frozen=True)
class Terms:
    """What a draft may cost, and what it is seeded with.

    Attributes:
        max_usd: The most that all calls of a draft may cost; not enforced without a price.
        seed: The seed.
    """

    max_usd: float
    seed: int


def question_for(part: Part, sentence: str, finished: Finished, seed: int) -> Question:
    """Return the first question for a part, after the parts before it."""
    prompt = part.prompt(sentence, finished)
    return Question(prompt, schema_of(part.answer(finished)), part.room, seed)


def finished_part(part: Part, finished: Finished, draft: UnfinishedDraft) -> Any:
    """Return a part that an earlier process finished; None if there is none that is valid."""
    kept = draft.part(part.name)
    if kept is None:
        return None
    try:
        return check_answer(part.answer(finished), kept)
    except FaultError:
        # Edited by hand, or kept by a version that checked less.
        return None


def kept_or_asked(
    part: Part,
    writer: Writer,
    draft: UnfinishedDraft,
    terms: Terms,
    say: Callable[[str], None],
) -> Any:
    """Return a part that needs no sentence and no other part: what the draft has, or a new answer.

    Raises:
        TraitvecError: As `ask_for_part`.
    """
    answer = finished_part(part, {}, draft)
    if answer is not None:
        say(f"{part.title}: kept from before")
        return answer
    say(f"{part.title} …")
    answer, _ = ask_for_part(part, "", {}, writer, draft, terms, say)
    return answer


def ask_for_part(
    part: Part,
    sentence: str,
    finished: Finished,
    writer: Writer,
    draft: UnfinishedDraft,
    terms: Terms,
    say: Callable[[str], None],
) -> tuple[Any, int]:
    """Ask for a part until the answer is valid, and keep it.

    Args:
        part: The part.
        sentence: The user's sentence.
        finished: The parts before it, by name.
        writer: The writer.
        draft: Keeps the part, and what each answer costs.
        terms: Budget and seed.
        say: Called with a line about each unusable answer.

    Returns:
        The answer, and how many were unusable before it.

    Raises:
        FaultyAnswersError: If no answer is valid.
        TraitvecError: If the next answer does not fit into the budget, or the writer does not
            answer.
    """
    first = question_for(part, sentence, finished, terms.seed)
    question, fault, n_cut_off = first, "", 0
    is_refused = False
    for attempt in range(MOST_ATTEMPTS):
        _check_budget(part, writer.most_usd(question), writer, draft, terms)
        written = writer.ask(question)
        draft.pay(written)
        is_refused = False
        try:
            if isinstance(written.text, Unusable):
                n_cut_off += written.text.is_cut_off
                is_refused = written.text.is_refusal
                raise FaultError(written.text.reason)
            answer = read_answer(part.answer(finished), written.text)
        except FaultError as error:
            fault = _shortened(str(error))
            say(f"{part.title}: answer {attempt + 1} is unusable ({clipped(fault, 100)})")
        else:
            draft.keep(part.name, answer)
            return answer, attempt
        question = Question(
            ask_again(first.prompt, fault),
            first.schema,
            first.room * min(2**n_cut_off, _MOST_ROOM),
            # With the same seed and the same fault, a local model would repeat itself.
            terms.seed + attempt + 1,
        )
    advice = "reword the sentence or name another writer" if is_refused else "name another writer"
    raise FaultyAnswersError(
        f"{part.title}: {MOST_ATTEMPTS} answers of {writer.name!r} were unusable, the last because"
        f" {clipped(fault, 90)}; {advice}, or run again: finished parts are kept"
    )


def _check_budget(
    part: Part, most_usd: float, writer: Writer, draft: UnfinishedDraft, terms: Terms
) -> None:
    if writer.price is None:
        return
    spent = draft.usd or 0.0
    if spent + most_usd > terms.max_usd:
        raise TraitvecError(
            f"{part.title}: ${spent:.4f} of ${terms.max_usd:g} spent, and the next answer can cost"
            f" ${most_usd:.4f}; raise max_usd (--max-usd) and run again, finished parts are kept"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_FAULT_CHARS else f"{text[:_MOST_FAULT_CHARS]}…"
