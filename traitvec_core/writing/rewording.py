"""New texts from a writer in the place of some pairs, openings and questions of a definition."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.trait import InstructionPair, TraitDefinition
from traitvec_core.writing.answers import Pairs, Questions, Scenarios, Texts, exactly
from traitvec_core.writing.asking import Terms, kept_or_asked
from traitvec_core.writing.parts import Part
from traitvec_core.writing.prompts import Described
from traitvec_core.writing.rewording_prompts import (
    new_openings_prompt,
    new_pairs_prompt,
    new_questions_prompt,
)
from traitvec_core.writing.unfinished import UnfinishedDraft, draft_key, unfinished_draft
from traitvec_core.writing.writer import Writer

__all__ = [
    "NewTexts",
    "Replacement",
    "Rewording",
    "ask_for_replacement",
    "described",
    "put_texts",
    "replacements",
    "reword",
]

NewTexts = Mapping[str, Mapping[int, InstructionPair | str]]
"""New pairs and questions, by the definition's key and number."""

_T = TypeVar("_T")
# Usual tokens of one pair and of one question, and the most of either.
_PAIR_TOKENS, _QUESTION_TOKENS, _ROOM = 85, 18, 400


@dataclass(frozen=True)
class Replacement:
    """One request for new texts.

    Attributes:
        places: What is replaced, by the definition's key and number, in the answer's order.
        part: The request.
    """

    places: list[tuple[str, int]]
    part: Part


@dataclass(frozen=True)
class Rewording:
    """What a writer has written in the place of some texts.

    Attributes:
        new: The new texts.
        calls: Answers of the writer, unusable ones included.
        tokens_in: Input tokens of all calls.
        tokens_out: Output tokens of all calls.
        usd: What the calls cost, those of an interrupted rewording included; None if the price is
            unknown.
        key: Names what is kept of it until it is written; see `unfinished.remove_draft`.
    """

    new: NewTexts
    calls: int
    tokens_in: int
    tokens_out: int
    usd: float | None
    key: str


def reword(
    definition: TraitDefinition,
    weak: Mapping[str, Mapping[int, str]],
    writer: Writer,
    *,
    max_usd: float,
    seed: int = 0,
    experiment: ExperimentFolder | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Rewording:
    """Let a writer replace texts of a definition.

    Args:
        definition: The trait.
        weak: Why each text is to be replaced, by the definition's key and number.
        writer: The writer.
        max_usd: The most that it may cost, over all attempts and interruptions.
        seed: Another seed gives other texts, where the writer has one.
        experiment: Keeps each finished request at once, so that an interrupted rewording goes on.
        say: Called with a line about progress.

    Raises:
        TraitvecError: If the writer's answers stay faulty, or the budget is spent.
    """
    asked = replacements(definition, weak)
    key = draft_key("\n".join(item.part.prompt("", {}) for item in asked), writer, seed)
    new: dict[str, dict[int, InstructionPair | str]] = {}
    with unfinished_draft(f"rewording {definition.name}", key, experiment) as draft:
        for item in asked:
            written = ask_for_replacement(item, writer, draft, Terms(max_usd, seed), say)
            for (place, number), text in written.items():
                new.setdefault(place, {})[number] = text
        tokens_in, tokens_out = draft.tokens
        return Rewording(new, draft.calls, tokens_in, tokens_out, draft.usd, key)


def replacements(
    definition: TraitDefinition, weak: Mapping[str, Mapping[int, str]]
) -> list[Replacement]:
    """Return the requests for new texts: at most one each for pairs, openings and questions.

    Args:
        definition: The trait.
        weak: Why each text is to be replaced, by the definition's key and number.
    """
    trait = described(definition)
    asked = []
    for key, kind, prompt, noun in (
        ("instruction", Pairs, new_pairs_prompt, "pair"),
        ("scenarios", Scenarios, new_openings_prompt, "scenario"),
    ):
        reasons, every = weak.get(key, {}), definition.all_pairs[key]
        if reasons:
            chosen, kept = _split(every, reasons)
            # No text of either kind of pairs may come again.
            taken = [t for pairs in definition.all_pairs.values() for p in pairs for t in _poles(p)]
            places = [(key, number) for number in sorted(reasons)]
            asked.append(_replacement(places, kind, taken, prompt(trait, kept, chosen), noun))
    named = {key: weak.get(key, {}) for key in ("questions", "eval_questions")}
    if any(named.values()):
        splits = {key: _split(getattr(definition, key), named[key]) for key in named}
        asked.append(
            _replacement(
                [(key, number) for key, reasons in named.items() for number in sorted(reasons)],
                Questions,
                [*definition.questions, *definition.eval_questions],
                new_questions_prompt(
                    trait,
                    [text for _, kept in splits.values() for text in kept],
                    [item for chosen, _ in splits.values() for item in chosen],
                ),
                "question",
            )
        )
    return asked


def ask_for_replacement(
    replacement: Replacement,
    writer: Writer,
    draft: UnfinishedDraft,
    terms: Terms,
    say: Callable[[str], None],
) -> dict[tuple[str, int], InstructionPair | str]:
    """Return new texts by the definition's key and number, asked for unless the draft has them.

    Raises:
        FaultyAnswersError: If the writer's answers stay faulty.
        TraitvecError: If the budget is spent, or the writer does not answer.
    """
    answer: Texts = kept_or_asked(replacement.part, writer, draft, terms, say)
    return dict(zip(replacement.places, answer.entries, strict=True))


def put_texts(raw: dict[str, Any], new: NewTexts) -> None:
    """Put new texts into a definition's JSON; other keys of a pair are the user's, and stay."""
    for key, texts in new.items():
        for number, text in texts.items():
            if isinstance(text, InstructionPair):
                raw[key][number] = {**raw[key][number], **text.model_dump()}
            else:
                raw[key][number] = text


def described(definition: TraitDefinition) -> Described:
    """Return what is known of a trait: the rubric is the only part that every definition has."""
    trait: dict[str, str | list[str]] = {
        "name": definition.name,
        "description": definition.description,
        "an answer with it is": definition.positive_label,
        "an answer with the opposite is": definition.negative_label,
        # On one line, so that it does not look like further keys.
        "answers are scored by": " ".join(definition.eval_prompt.split()),
    }
    return {name: text for name, text in trait.items() if text}


def _split(
    every: Sequence[_T], reasons: Mapping[int, str]
) -> tuple[list[tuple[_T, str]], list[_T]]:
    """Return those to be replaced, each with the reason, and those that stay."""
    weak = [(every[number], reasons[number]) for number in sorted(reasons)]
    return weak, [text for number, text in enumerate(every) if number not in reasons]


def _poles(pair: InstructionPair) -> tuple[str, str]:
    return pair.pos, pair.neg


def _replacement(
    places: list[tuple[str, int]],
    kind: type[Texts],
    taken: Sequence[str],
    prompt: str,
    noun: str,
) -> Replacement:
    n = len(places)
    part = Part(
        # Another selection is another request.
        name="new " + " ".join(f"{key}[{number}]" for key, number in places),
        title=f"{n} new {noun}{'s' if n > 1 else ''}",
        answer=lambda finished: exactly(kind, n, taken),
        prompt=lambda sentence, finished: prompt,
        tokens_out=n * (_QUESTION_TOKENS if kind is Questions else _PAIR_TOKENS),
        room=1000 + n * _ROOM,
    )
    return Replacement(places, part)
