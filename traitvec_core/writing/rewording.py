"""New texts from a writer in the place of pairs and questions that elicit nothing."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.trait import InstructionPair, TraitDefinition
from traitvec_core.writing.answers import pairs_in_place, questions_in_place
from traitvec_core.writing.asking import Terms, ask_for_part, finished_part, question_for
from traitvec_core.writing.parts import Part
from traitvec_core.writing.prompts import new_pairs_prompt, new_questions_prompt
from traitvec_core.writing.unfinished import draft_key, unfinished_draft
from traitvec_core.writing.writer import Writer

__all__ = ["Rewording", "most_first_usd", "reword"]

# Usual and most tokens of one pair and of one question.
_PAIR_TOKENS, _QUESTION_TOKENS, _ROOM = 85, 18, 400


@dataclass(frozen=True)
class Rewording:
    """What a writer has written in the place of some texts.

    Attributes:
        pairs: New pairs, by number.
        questions: New questions, by number.
        calls: Answers of the writer, unusable ones included.
        tokens_in: Input tokens of all calls.
        tokens_out: Output tokens of all calls.
        usd: What the calls cost, those of an interrupted rewording included; None if the price is
            unknown.
        key: Names what is kept of it until it is written; see `unfinished.remove_draft`.
    """

    pairs: dict[int, InstructionPair]
    questions: dict[int, str]
    calls: int
    tokens_in: int
    tokens_out: int
    usd: float | None
    key: str


def reword(
    definition: TraitDefinition,
    pairs: Collection[int],
    questions: Collection[int],
    writer: Writer,
    *,
    elicited_by: ElicitedBy = "instructions",
    max_usd: float,
    seed: int = 0,
    experiment: ExperimentFolder | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Rewording:
    """Let a writer replace pairs and questions of a definition.

    Args:
        definition: The trait.
        pairs: Numbers of the pairs to be replaced.
        questions: Numbers of the questions to be replaced.
        writer: The writer.
        elicited_by: Whether the pairs are instructions or openings.
        max_usd: The most that it may cost, over all attempts and interruptions.
        seed: Another seed gives other texts, where the writer has one.
        experiment: Keeps each finished part at once, so that an interrupted rewording goes on.
        say: Called with a line about progress.

    Raises:
        TraitvecError: If the writer's answers stay faulty, or the budget is spent.
    """
    parts = _parts(definition, sorted(pairs), sorted(questions), elicited_by)
    key = draft_key("\n".join(part.prompt("", {}) for part in parts), writer, seed)
    finished: dict[str, Any] = {}
    with unfinished_draft(f"rewording {definition.name}", key, experiment) as draft:
        for part in parts:
            answer = finished_part(part, draft)
            if answer is not None:
                say(f"{part.title}: kept from before")
            else:
                say(f"{part.title} …")
                terms = Terms(max_usd, seed)
                answer, _ = ask_for_part(part, "", finished, writer, draft, terms, say)
            finished[part.name] = answer
        tokens_in, tokens_out = draft.tokens
        return Rewording(
            dict(zip(sorted(pairs), finished["pairs"].pairs, strict=True)) if pairs else {},
            dict(zip(sorted(questions), finished["questions"].questions, strict=True))
            if questions
            else {},
            draft.calls, tokens_in, tokens_out, draft.usd, key,
        )  # fmt: skip


def most_first_usd(
    definition: TraitDefinition,
    pairs: Collection[int],
    questions: Collection[int],
    writer: Writer,
    elicited_by: ElicitedBy = "instructions",
) -> float | None:
    """Return the most that the first answers can cost; None if the price is unknown."""
    if writer.price is None:
        return None
    parts = _parts(definition, sorted(pairs), sorted(questions), elicited_by)
    return sum(writer.most_usd(question_for(part, part.prompt("", {}), 0)) for part in parts)


def _parts(
    definition: TraitDefinition,
    pairs: Sequence[int],
    questions: Sequence[int],
    elicited_by: ElicitedBy,
) -> list[Part]:
    trait = _described(definition)
    parts = []
    if pairs:
        every = definition.pairs(elicited_by)
        working = [pair for number, pair in enumerate(every) if number not in pairs]
        weak = [every[number] for number in pairs]
        texts = [text for pair in every for text in (pair.pos, pair.neg)]
        prompt = new_pairs_prompt(trait, working, weak, elicited_by)
        parts.append(_part("pairs", "pair", len(pairs), pairs_in_place(len(pairs), texts), prompt))
    if questions:
        every_question = definition.questions
        kept = [text for number, text in enumerate(every_question) if number not in questions]
        idle = [every_question[number] for number in questions]
        taken = [*every_question, *definition.eval_questions]
        prompt = new_questions_prompt(trait, kept, idle)
        parts.append(
            _part(
                "questions", "question", len(questions),
                questions_in_place(len(questions), taken), prompt,
            )
        )  # fmt: skip
    return parts


def _part(name: str, noun: str, n: int, answer: Any, prompt: str) -> Part:
    return Part(
        name=name,
        title=f"{n} new {noun}{'s' if n > 1 else ''}",
        answer=answer,
        prompt=lambda sentence, finished: prompt,
        tokens_out=n * (_PAIR_TOKENS if name == "pairs" else _QUESTION_TOKENS),
        room=1000 + n * _ROOM,
    )


def _described(definition: TraitDefinition) -> dict[str, str | list[str]]:
    """What is known of a trait: the rubric is the only part that every definition has."""
    described: dict[str, str | list[str]] = {
        "name": definition.name,
        "description": definition.description,
        "an answer with it is": definition.positive_label,
        "an answer with the opposite is": definition.negative_label,
        # On one line, so that it does not look like further keys.
        "answers are scored by": " ".join(definition.eval_prompt.split()),
    }
    return {name: text for name, text in described.items() if text}
