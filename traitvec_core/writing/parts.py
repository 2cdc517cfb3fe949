"""The parts of a draft, in the order in which they are asked for. Each needs those before it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from traitvec_core.settings.trait_form import compose_definition
from traitvec_core.trait import InstructionPair
from traitvec_core.writing.answers import (
    N_PAIRS,
    N_QUESTIONS,
    N_SCENARIOS,
    Answer,
    Outline,
    Pairs,
    Questions,
    Scenarios,
    exactly,
)
from traitvec_core.writing.prompts import (
    Described,
    openings_prompt,
    outline_prompt,
    pairs_prompt,
    questions_prompt,
)
from traitvec_core.writing.rubric import compose_rubric

__all__ = ["PARTS", "Finished", "Part", "definition_text", "scenarios_part"]

# Finished parts by name: `Outline`, `Pairs`, `Questions`, `Scenarios`.
Finished = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One request to the writer.

    Attributes:
        name: Its name in the draft's file.
        title: What is being written, for progress lines.
        answer: Returns the model of the answer from the parts before this one.
        prompt: Makes the prompt from the sentence and the parts before this one.
        tokens_out: Usual length of the answer, in tokens, for the estimate: that of the worked
            example's texts (`templates/sycophancy.json`).
        room: The most tokens of an answer; twice as many after one that was cut off.
    """

    name: str
    title: str
    answer: Callable[[Finished], type[Answer]]
    prompt: Callable[[str, Finished], str]
    tokens_out: int
    room: int


def _described(finished: Finished) -> Described:
    outline: Outline = finished["outline"]
    return {
        "name": outline.name,
        "description": outline.description,
        "an answer with it is": outline.positive_label,
        "an answer with the opposite is": outline.negative_label,
        "at 0": outline.anchors.at_0,
        "at 100": outline.anchors.at_100,
        "it is not": outline.is_not,
    }


def scenarios_part(
    described: Callable[[Finished], Described],
    pairs: Callable[[Finished], Sequence[InstructionPair]],
) -> Part:
    """Return the part with the pairs of openings.

    Args:
        described: Returns what is known of the trait.
        pairs: Returns the pairs of instructions, whose texts no opening may repeat.
    """

    def answer(finished: Finished) -> type[Answer]:
        texts = [text for pair in pairs(finished) for text in (pair.pos, pair.neg)]
        return exactly(Scenarios, N_SCENARIOS, texts)

    return Part(
        name="scenarios",
        title=f"{N_SCENARIOS} scenarios",
        answer=answer,
        prompt=lambda sentence, finished: openings_prompt(described(finished), N_SCENARIOS),
        tokens_out=460,
        room=3000,
    )


PARTS = (
    Part(
        name="outline",
        title="description and rubric",
        answer=lambda finished: Outline,
        prompt=lambda sentence, finished: outline_prompt(sentence),
        tokens_out=350,
        room=2000,
    ),
    Part(
        name="pairs",
        title=f"{N_PAIRS} instruction pairs",
        answer=lambda finished: Pairs,
        prompt=lambda sentence, finished: pairs_prompt(_described(finished), N_PAIRS),
        tokens_out=850,
        room=4000,
    ),
    Part(
        name="questions",
        title=f"{N_QUESTIONS} questions",
        answer=lambda finished: Questions,
        prompt=lambda sentence, finished: questions_prompt(_described(finished), N_QUESTIONS),
        tokens_out=700,
        room=4000,
    ),
    scenarios_part(_described, lambda finished: finished["pairs"].pairs),
)


def definition_text(name: str, finished: Finished) -> str:
    """Return the text of a definition with all parts.

    Every second question is held out, so that neither half has topics from one end of the list.

    Args:
        name: The trait's name.
        finished: All parts, by name.
    """
    outline: Outline = finished["outline"]
    questions = finished["questions"].questions
    return compose_definition(
        name,
        outline.description,
        [pair.model_dump() for pair in finished["pairs"].pairs],
        questions[::2],
        rubric=compose_rubric(outline),
        eval_questions=questions[1::2],
        scenarios=[pair.model_dump() for pair in finished["scenarios"].scenarios],
        labels=(outline.positive_label, outline.negative_label),
    )
